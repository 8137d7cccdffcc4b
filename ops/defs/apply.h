// What the EvApply* and EvGroupApply* ops share: handles, hyperparameters, gradients, keys and global_step in; one step on the
// rows of a batch, or of a batch for each of many tables.
#pragma once

#include <vector>

#include "ops/defs/shape_functions.h"

namespace ev::defs {

// An input or attribute as REGISTER_OP has it, e.g. "lr: float", and what the op's documentation says of it.
struct Documented {
  const char* spec;
  const char* doc;
};

struct ApplyOpDef {
  const char* optimizer;               // "Adagrad" of EvApplyAdagrad and EvGroupApplyAdagrad
  const char* step_of;                 // what it is called
  std::vector<Documented> hyper;       // scalar inputs, between handle and grad
  std::vector<const char*> slots;      // in the order of the rule's header; those in [brackets] may be left out
  std::vector<Documented> attrs = {};  // beyond those that all have
};

// Registers both ops.
tensorflow::InitOnStartupMarker RegisterApply(const ApplyOpDef& def);

// Texts that several ops need.
inline constexpr char kLearningRateDoc[] = "scalar, finite, >= 0.";
inline constexpr char kNonNegativeDoc[] = "scalar, finite, >= 0.";
inline constexpr char kBelowOneDoc[] = "scalar, in [0, 1).";
inline constexpr char kBetaPowerDoc[] = "scalar, in [0, 1): beta ** t of step t, from 1.";

}  // namespace ev::defs
