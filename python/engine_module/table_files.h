// Table files as Python objects: TableReader, TableWriter, TableBlock.
#pragma once

#include <pybind11/pybind11.h>

namespace ev::python {

// Requires: SlotSpec is defined (DefineRules).
void DefineTableFiles(pybind11::module_& m);

}  // namespace ev::python
