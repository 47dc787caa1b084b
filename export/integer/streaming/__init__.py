"""An integer graph frame by frame, in constant memory."""
