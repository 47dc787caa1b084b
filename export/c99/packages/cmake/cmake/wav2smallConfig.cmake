include("${CMAKE_CURRENT_LIST_DIR}/wav2smallTargets.cmake")
