#include "benchmarks/engine/harness.h"

#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace ev::bench {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

double Seconds(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

// Core-seconds since boot in which a CPU of this machine was not idle, steal counted.
double BusySeconds() {
  std::ifstream stat("/proc/stat");
  std::string cpu;
  stat >> cpu;
  double busy = 0;
  for (int i = 0; i < 8; ++i) {  // user nice system idle iowait irq softirq steal
    double jiffies = 0;
    stat >> jiffies;
    if (i != 3 && i != 4) busy += jiffies;
  }
  return busy / static_cast<double>(sysconf(_SC_CLK_TCK));
}

}  // namespace

Arguments::Arguments(int argc, char** argv) {
  for (int i = 1; i < argc; i += 2) {
    if (std::strncmp(argv[i], "--", 2) != 0 || i + 1 == argc) {
      Fail(std::string("expected --name value, found ") + argv[i]);
    }
    given_[argv[i] + 2] = argv[i + 1];
  }
}

std::string Arguments::Text(const std::string& name, const std::string& otherwise) {
  asked_[name] = true;
  const auto found = given_.find(name);
  return found == given_.end() ? otherwise : found->second;
}

std::vector<std::string> Arguments::Texts(const std::string& name, const std::vector<std::string>& otherwise) {
  const std::string text = Text(name, "");
  if (text.empty()) return otherwise;
  std::vector<std::string> values;
  std::istringstream parts(text);
  for (std::string part; std::getline(parts, part, ',');) values.push_back(part);
  return values;
}

std::vector<int64_t> Arguments::Ints(const std::string& name, const std::vector<int64_t>& otherwise) {
  const std::vector<std::string> texts = Texts(name, {});
  if (texts.empty()) return otherwise;
  std::vector<int64_t> values;
  for (const std::string& text : texts) {
    char* end = nullptr;
    values.push_back(std::strtoll(text.c_str(), &end, 10));
    if (end == text.c_str() || *end != '\0') Fail("--" + name + ": expected whole numbers, found " + text);
  }
  return values;
}

int64_t Arguments::Int(const std::string& name, int64_t otherwise) { return Ints(name, {otherwise}).front(); }

void Arguments::Done() const {
  for (const auto& [name, value] : given_) {
    if (asked_.count(name) == 0) Fail("unknown argument --" + name + " " + value);
  }
}

void Fail(const std::string& message) {
  std::fprintf(stderr, "%s\n", message.c_str());
  std::exit(1);
}

void Check(const Status& status) {
  if (!status.ok()) Fail(status.ToString());
}

double WallSeconds() { return Seconds(CLOCK_MONOTONIC); }
double CpuSeconds() { return Seconds(CLOCK_PROCESS_CPUTIME_ID); }

int64_t ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  int64_t total = 0;
  int64_t resident = 0;
  statm >> total >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

namespace {

// The number behind `wanted` in a file of /proc.
int64_t NumberBehind(const std::string& wanted, const char* path) {
  std::ifstream file(path);
  std::string word;
  while (file >> word && word != wanted) {
  }
  int64_t number = 0;
  if (!(file >> number)) Fail(std::string(path) + ": expected " + wanted);
  return number;
}

}  // namespace

int64_t PeakResidentBytes() { return NumberBehind("VmHWM:", "/proc/self/status") * 1024; }
int64_t DeviceReadBytes() { return NumberBehind("read_bytes:", "/proc/self/io"); }

void ForgetPeak() {
  if (!(std::ofstream("/proc/self/clear_refs") << "5" << std::flush)) Fail("/proc/self/clear_refs: cannot be written");
}

double SecondsOf(const std::function<void()>& work) {
  const double start = WallSeconds();
  work();
  return WallSeconds() - start;
}

double Quantile(std::vector<double> values, double q) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const double at = q * static_cast<double>(values.size() - 1);
  const auto low = static_cast<size_t>(at);
  const size_t high = std::min(low + 1, values.size() - 1);
  return values[low] + (values[high] - values[low]) * (at - static_cast<double>(low));
}

Contention::Contention() : wall_(WallSeconds()), cpu_(CpuSeconds()), busy_(BusySeconds()) {}

double Contention::Read() const {
  const double others = (BusySeconds() - busy_) - (CpuSeconds() - cpu_);
  return std::max(0.0, others) / std::max(WallSeconds() - wall_, 1e-3);
}

Comparison Compare(int repeats, double units, const std::function<void()>& ours, const std::function<void()>& ceiling) {
  Comparison result;
  for (int repeat = -1; repeat < repeats; ++repeat) {
    const Contention contention;
    const double start = WallSeconds();
    ours();
    const double middle = WallSeconds();
    ceiling();
    const double end = WallSeconds();
    if (repeat < 0) continue;
    result.ours.push_back(units / (middle - start));
    result.ceiling.push_back(units / (end - middle));
    result.ratio.push_back((end - middle) / (middle - start));
    result.other_cpu.push_back(contention.Read());
  }
  return result;
}

JsonLine::~JsonLine() {
  std::printf("{%s}\n", text_.c_str());
  std::fflush(stdout);
}

void JsonLine::Name(const char* name) {
  if (!text_.empty()) text_ += ", ";
  text_ += '"';
  text_ += name;
  text_ += "\": ";
}

JsonLine& JsonLine::Add(const char* name, const std::string& value) {
  Name(name);
  text_ += '"' + value + '"';
  return *this;
}

JsonLine& JsonLine::Add(const char* name, int64_t value) {
  Name(name);
  text_ += std::to_string(value);
  return *this;
}

JsonLine& JsonLine::Add(const char* name, double value) {
  Name(name);
  char digits[32];
  std::snprintf(digits, sizeof(digits), "%.6g", value);
  text_ += digits;
  return *this;
}

JsonLine& JsonLine::Add(const char* name, const std::vector<double>& values) {
  Name(name);
  text_ += '[';
  for (size_t i = 0; i < values.size(); ++i) {
    char digits[32];
    std::snprintf(digits, sizeof(digits), "%s%.6g", i == 0 ? "" : ", ", values[i]);
    text_ += digits;
  }
  text_ += ']';
  return *this;
}

JsonLine& JsonLine::Add(const Comparison& comparison) {
  return Add("ours_per_s", comparison.ours)
      .Add("ceiling_per_s", comparison.ceiling)
      .Add("ratio", comparison.ratio)
      .Add("other_cpu", comparison.other_cpu);
}

ScratchSpace::ScratchSpace(const std::string& parent) : path_(parent + "/ev_bench_XXXXXX") {
  if (mkdtemp(path_.data()) == nullptr) Fail(path_ + ": cannot be made");
}

ScratchSpace::~ScratchSpace() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

HugeBuffer::HugeBuffer(size_t bytes) {
  bytes = (bytes + kHugePage - 1) / kHugePage * kHugePage;
  mapped_bytes_ = bytes + kHugePage;
  void* mapped =
      mmap(nullptr, mapped_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) Fail("no memory for a buffer of " + std::to_string(bytes) + " bytes");
  mapped_ = static_cast<char*>(mapped);
  data_ = reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(mapped_) + kHugePage - 1) / kHugePage * kHugePage);
  madvise(data_, bytes, MADV_HUGEPAGE);
  for (size_t at = 0; at < bytes; at += 4096) data_[at] = 0;
}

HugeBuffer::~HugeBuffer() { munmap(mapped_, mapped_bytes_); }

}  // namespace ev::bench
