// What the engine's benchmarks share: arguments, clocks, how busy the machine is, JSON lines, memory for the ceilings.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "ev_tf/base/status.h"

namespace ev::bench {

// "--rows 1000000 --dims 16,32": every argument has a value.  Asking for one that was not given returns the default; an
// argument that nobody asked for ends the program, as does a malformed one.
class Arguments {
 public:
  Arguments(int argc, char** argv);
  int64_t Int(const std::string& name, int64_t otherwise);
  std::vector<int64_t> Ints(const std::string& name, const std::vector<int64_t>& otherwise);
  std::string Text(const std::string& name, const std::string& otherwise);
  std::vector<std::string> Texts(const std::string& name, const std::vector<std::string>& otherwise);
  void Done() const;

 private:
  std::map<std::string, std::string> given_;
  std::map<std::string, bool> asked_;
};

[[noreturn]] void Fail(const std::string& message);
void Check(const Status& status);

double WallSeconds();
double CpuSeconds();  // of all threads of this process
int64_t ResidentBytes();
// The most of it since ForgetPeak().
int64_t PeakResidentBytes();
void ForgetPeak();
// That this process has made the device read: what was in the page cache is none of it.
int64_t DeviceReadBytes();

// How long `work` takes.
double SecondsOf(const std::function<void()>& work);

double Quantile(std::vector<double> values, double q);
inline double Median(const std::vector<double>& values) { return Quantile(values, 0.5); }

// Cores that others used between its creation and Read(): other processes, and the hypervisor (steal).
class Contention {
 public:
  Contention();
  double Read() const;

 private:
  double wall_;
  double cpu_;
  double busy_;
};

// Times `ours` and `ceiling` in turn, A-B-A-B, after one untimed round of both.  Each call does `units` of work.
struct Comparison {
  std::vector<double> ours;     // units per second, one for each repeat
  std::vector<double> ceiling;  // the same
  std::vector<double> ratio;    // ours / ceiling of the same repeat
  std::vector<double> other_cpu;
};
Comparison Compare(int repeats, double units, const std::function<void()>& ours, const std::function<void()>& ceiling);

// One JSON object on a line of its own, written when it goes out of scope.
class JsonLine {
 public:
  JsonLine() = default;
  ~JsonLine();
  JsonLine& Add(const char* name, const std::string& value);
  JsonLine& Add(const char* name, const char* value) { return Add(name, std::string(value)); }
  JsonLine& Add(const char* name, int64_t value);
  JsonLine& Add(const char* name, double value);
  JsonLine& Add(const char* name, const std::vector<double>& values);
  JsonLine& Add(const Comparison& comparison);

 private:
  void Name(const char* name);
  std::string text_;
};

// A new directory in `parent`, deleted with all that is in it.  A program that fails leaves it behind.
class ScratchSpace {
 public:
  explicit ScratchSpace(const std::string& parent);
  ~ScratchSpace();
  ScratchSpace(const ScratchSpace&) = delete;
  ScratchSpace& operator=(const ScratchSpace&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Zeroed memory in huge pages where the system has them, touched: the best a gather can get.
class HugeBuffer {
 public:
  explicit HugeBuffer(size_t bytes);
  ~HugeBuffer();
  HugeBuffer(const HugeBuffer&) = delete;
  HugeBuffer& operator=(const HugeBuffer&) = delete;
  char* data() const { return data_; }
  float* floats() const { return reinterpret_cast<float*>(data_); }

 private:
  char* mapped_;
  size_t mapped_bytes_;
  char* data_;
};

}  // namespace ev::bench
