#include "ops/defs/apply.h"

#include <string>

namespace ev::defs {
namespace {

std::string NameOf(const Documented& input) {
  const std::string spec = input.spec;
  return spec.substr(0, spec.find(':'));
}

// An op of one table, or of N.
std::string Documentation(const ApplyOpDef& def, bool group) {
  std::string doc =
      absl::StrCat("\nOne step of ", def.step_of, group ? " on each of N tables, by threads that share them" : "",
                   ". Gradients of equal keys are summed first; missing keys are inserted from their default "
                   "rows.\n");
  if (!def.slots.empty()) {
    absl::StrAppend(&doc, "Slots, in order: ", absl::StrJoin(def.slots, ", "),
                    ". A slot that the variable does not have yet is added to every row.\n");
  }
  absl::StrAppend(&doc, "\n");
  for (const Documented& input : def.hyper) absl::StrAppend(&doc, NameOf(input), ": ", input.doc, "\n");
  absl::StrAppend(&doc, group ? "grads: of each table, " : "grad: ", "keys.shape + [dim].\n",
                  group ? "keys: of each table, any shape.\n" : "keys: any shape.\n",
                  "global_step: scalar, becomes the rows' version where versions are recorded; < 0 leaves them.\n",
                  group ? "dims: of each table, floats of one row.\n" : "dim: floats of one row of the variable.\n");
  if (!def.slots.empty()) {
    absl::StrAppend(
        &doc,
        "slot_names: the variable's names of the slots; another name is another slot, so that two optimizers "
        "can share a variable.",
        group ? " Those of the first table, then those of the second...\n" : "\n",
        "slot_initial_values: what a slot of a new row is filled with.\n");
  }
  for (const Documented& attr : def.attrs) absl::StrAppend(&doc, NameOf(attr), ": ", attr.doc, "\n");
  return doc;
}

tensorflow::InitOnStartupMarker Register(const ApplyOpDef& def, bool group) {
  tensorflow::register_op::OpDefBuilderWrapper builder(
      absl::StrCat(group ? "EvGroupApply" : "EvApply", def.optimizer).c_str());
  builder.Input(group ? "handles: N * resource" : "handle: resource");
  for (const Documented& input : def.hyper) builder.Input(input.spec);
  builder.Input(group ? "grads: N * float" : "grad: float").Input(group ? "keys: N * Tkey" : "keys: Tkey");
  builder.Input("global_step: int64");
  if (group) {
    builder.Attr("N: int >= 1").Attr("dims: list(int)");
  } else {
    builder.Attr("dim: int >= 1");
  }
  if (!def.slots.empty()) {
    size_t least = 0;
    for (const std::string slot : def.slots) least += slot[0] != '[' ? 1 : 0;
    builder.Attr(absl::StrCat("slot_names: list(string) >= ", least));
    builder.Attr(absl::StrCat("slot_initial_values: list(float) >= ", least));
  }
  for (const Documented& attr : def.attrs) builder.Attr(attr.spec);
  builder.Attr("Tkey: {int32, int64}")
      .SetIsStateful()
      .SetShapeFn(group ? GroupApply : Apply)
      .Doc(Documentation(def, group));
  return builder();
}

}  // namespace

tensorflow::InitOnStartupMarker RegisterApply(const ApplyOpDef& def) {
  Register(def, false);
  return Register(def, true);
}

}  // namespace ev::defs
