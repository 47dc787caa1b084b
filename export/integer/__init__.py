"""What an exported int8 model computes, in integers."""
