// What an op that makes a table says about which keys have a row, and for how long.
#pragma once

// For REGISTER_OP.  A graph written without them gives every key a row, for ever.
#define EV_FEATURE_ATTRS                              \
  Attr("filter_freq: int = 0")                        \
      .Attr("max_element_size: int = 0")              \
      .Attr("false_positive_probability: float = 0")  \
      .Attr("counter_bytes: int = 8")                 \
      .Attr("default_value_no_permission: float = 0") \
      .Attr("steps_to_live: int = 0")                 \
      .Attr("l2_weight_threshold: float = -1")
