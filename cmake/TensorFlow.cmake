# ev_tensorflow: how to compile and link against the TensorFlow that lies in EV_TF_DIR, as its own
# tf.sysconfig.get_compile_flags() would say, without importing it.

if(NOT EXISTS "${EV_TF_DIR}/libtensorflow_framework.so.2")
  message(FATAL_ERROR
    "EV_TF_DIR=${EV_TF_DIR} holds no libtensorflow_framework.so.2.  Expected: the folder of an installed TensorFlow, "
    "<site-packages>/tensorflow.")
endif()

add_library(ev_tensorflow INTERFACE)
target_include_directories(ev_tensorflow SYSTEM INTERFACE "${EV_TF_DIR}/include")  # SYSTEM: its warnings are not ours
target_compile_definitions(ev_tensorflow INTERFACE
  _GLIBCXX_USE_CXX11_ABI=1
  EIGEN_MAX_ALIGN_BYTES=64  # part of the ABI of Tensor
  NDEBUG)                   # as TensorFlow was built: its headers' inline code differs otherwise
target_link_libraries(ev_tensorflow INTERFACE "${EV_TF_DIR}/libtensorflow_framework.so.2")
