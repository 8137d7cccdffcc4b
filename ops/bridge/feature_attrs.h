// The attributes by which an op that makes a table says which keys have a row, and for how long.
#pragma once

#include "ev_tf/variable/embedding_variable.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace ev::bridge {

// Reads the attributes into *options; an attribute that is missing fails `ctx`.  What they mean together is checked when
// the table is made.
void ReadFeatureAttrs(tensorflow::OpKernelConstruction* ctx, VariableOptions* options);

}  // namespace ev::bridge
