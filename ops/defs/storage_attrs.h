// What an op that makes a table says about where its rows are kept.
#pragma once

// For REGISTER_OP.  A graph written without them keeps its rows in DRAM.
#define EV_STORAGE_ATTRS                      \
  Attr("storage_type: int = 1")               \
      .Attr("storage_path: string = ''")      \
      .Attr("dram_bytes: int = 1073741824")   \
      .Attr("middle_bytes: int = 1073741824") \
      .Attr("cache_strategy: int = 1")
