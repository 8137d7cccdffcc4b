// Turns: processes that take turns, so that each has what a library gives a process, and none runs while another is measured.
#pragma once

#include <sys/types.h>

#include <functional>
#include <vector>

namespace ev::bench {

class Turns {
 public:
  // In a process of its own: waits for its turn, and gives it to the next one.
  class Turn {
   public:
    Turn(int go, int done) : go_(go), done_(done) {}
    void Wait() const;
    void Done() const;

   private:
    int go_;
    int done_;
  };

  Turns() = default;
  Turns(const Turns&) = delete;
  Turns& operator=(const Turns&) = delete;

  // Starts a process that does `work` and ends.  Requires: this process has one thread, and nothing buffered for stdout.
  void Add(const std::function<void(const Turn&)>& work);
  // Gives each process in the order of Add() a turn, `rounds` times, and waits for their ends.  Fails if one does; the others end
  // with this process.  SIGPIPE is ignored from then on.
  void Run(int rounds);

 private:
  struct Child {
    pid_t process;
    int go;    // written to
    int done;  // read from
  };
  std::vector<Child> children_;
};

}  // namespace ev::bench
