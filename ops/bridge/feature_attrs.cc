#include "ops/bridge/feature_attrs.h"

namespace ev::bridge {

void ReadFeatureAttrs(tensorflow::OpKernelConstruction* ctx, VariableOptions* options) {
  OP_REQUIRES_OK(ctx, ctx->GetAttr("filter_freq", &options->admission.filter_freq));
  OP_REQUIRES_OK(ctx, ctx->GetAttr("max_element_size", &options->admission.max_element_size));
  float probability = 0;
  OP_REQUIRES_OK(ctx, ctx->GetAttr("false_positive_probability", &probability));
  options->admission.false_positive_probability = static_cast<double>(probability);
  int64_t counter_bytes = 0;
  OP_REQUIRES_OK(ctx, ctx->GetAttr("counter_bytes", &counter_bytes));
  options->admission.counter_bytes = static_cast<int>(counter_bytes);
  OP_REQUIRES_OK(ctx, ctx->GetAttr("default_value_no_permission", &options->default_value_no_permission));
  OP_REQUIRES_OK(ctx, ctx->GetAttr("steps_to_live", &options->shrink.steps_to_live));
  OP_REQUIRES_OK(ctx, ctx->GetAttr("l2_weight_threshold", &options->shrink.l2_weight_threshold));
}

}  // namespace ev::bridge
