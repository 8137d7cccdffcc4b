// VacatedPositions: rows that were removed and still stand in the database, by key.
//
// A row that training brings up and changes is removed below and soon put again.  It then takes the place of the row that it
// was: one entry is overwritten, where there would be a deletion and a new entry for LevelDB to carry through its levels.
//
// A table of power-of-two size in which each key has one place and the newer of two wins, as what went up last comes down
// first; whoever loses its place is to be deleted.
//
// Not thread-safe.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "ev_tf/base/key.h"
#include "ev_tf/index/location.h"

namespace ev {

class VacatedPositions {
 public:
  struct Entry {
    Key key = 0;
    Position position = kNone;
  };
  static constexpr Position kNone = ~Position{0};

  // Makes the table fit for a tier of so many rows.  It never shrinks.
  void Fit(size_t rows) {
    const size_t wanted = std::clamp(rows / kRowsPerPlace, kMinPlaces, kMaxPlaces);
    if (places_.size() >= wanted) return;
    size_t size = std::max(places_.size(), kMinPlaces);
    while (size < wanted) size *= 2;
    std::vector<Entry> old(size);
    old.swap(places_);
    for (const Entry& entry : old) {  // a larger table parts them: nobody loses its place
      if (entry.position != kNone) *PlaceOf(entry.key) = entry;
    }
  }

  // Notes that the row of `key` at `position` is vacant; *lost = who has lost its place, position kNone: nobody.
  // Requires: Fit() was called.
  void Add(Key key, Position position, Entry* lost) {
    Entry* const place = PlaceOf(key);
    *lost = *place;
    *place = {key, position};
  }

  // The vacant position of `key`, which is forgotten; kNone: it has none.
  Position Take(Key key) {
    if (places_.empty()) return kNone;
    Entry* const place = PlaceOf(key);
    if (place->key != key) return kNone;
    const Position position = place->position;
    place->position = kNone;
    return position;
  }

  template <typename Visitor>
  void ForEach(Visitor&& visit) const {
    for (const Entry& entry : places_) {
      if (entry.position != kNone) visit(entry);
    }
  }
  void Clear() { std::fill(places_.begin(), places_.end(), Entry{}); }

 private:
  // Of the rows of a table a small part is on its way up and down: a place of 16 bytes for so many of them.
  static constexpr size_t kRowsPerPlace = 16;
  static constexpr size_t kMinPlaces = 64;
  static constexpr size_t kMaxPlaces = size_t{1} << 18;

  Entry* PlaceOf(Key key) { return &places_[HashKey(key) & (places_.size() - 1)]; }

  std::vector<Entry> places_;
};

}  // namespace ev
