// Writes a LevelDB tier for leveldb_plyvel_test.py: leveldb_tier_sample <directory>
//
// Row of key k, version v: 4 floats k, v, 0.5, -1 (k as a float).  Keys -3 to 3 and the ends of int64 in version 1, key 2 in
// version 2 as well, key 3 removed.
#include <cstdio>
#include <memory>
#include <vector>

#include "ev_tf/tier/leveldb/leveldb_tier.h"

namespace {

ev::Status Write(const char* path) {
  ev::LevelDbOptions options;
  options.path = path;
  options.row_bytes = 4 * sizeof(float);
  std::unique_ptr<ev::LevelDbTier> tier;
  EV_RETURN_IF_ERROR(ev::LevelDbTier::Open(options, &tier));
  std::vector<ev::Position> positions;
  const auto put = [&](const std::vector<ev::Key>& keys, float version) -> ev::Status {
    std::vector<float> rows;
    for (const ev::Key key : keys) rows.insert(rows.end(), {static_cast<float>(key), version, 0.5f, -1.0f});
    positions.resize(keys.size());
    return tier->Put(keys, {reinterpret_cast<const std::byte*>(rows.data()), rows.size() * sizeof(float)}, positions);
  };
  EV_RETURN_IF_ERROR(put({3, -3, INT64_MAX, -2, -1, 0, INT64_MIN, 1, 2}, 1.0f));
  const ev::Key removed = 3;
  tier->Remove({&removed, 1}, {positions.data(), 1});
  EV_RETURN_IF_ERROR(put({2}, 2.0f));
  return tier->Flush();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s <directory>\n", argv[0]);
    return 2;
  }
  const ev::Status status = Write(argv[1]);
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}
