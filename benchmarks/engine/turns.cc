#include "benchmarks/engine/turns.h"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <string>

#include "benchmarks/engine/harness.h"

namespace ev::bench {
namespace {

// True: a byte came; false: the other side has gone.
bool ReadByte(int fd) {
  char byte = 0;
  ssize_t n = 0;
  do n = read(fd, &byte, 1);
  while (n < 0 && errno == EINTR);
  return n == 1;
}

void WriteByte(int fd) {
  const char byte = 0;
  if (write(fd, &byte, 1) != 1) Fail("a process that takes turns has gone");
}

}  // namespace

void Turns::Turn::Wait() const {
  if (!ReadByte(go_)) std::_Exit(1);
}

void Turns::Turn::Done() const { WriteByte(done_); }

void Turns::Add(const std::function<void(const Turn&)>& work) {
  int go[2];
  int done[2];
  if (pipe(go) != 0 || pipe(done) != 0) Fail("no pipe");
  const pid_t process = fork();
  if (process < 0) Fail("no process");
  if (process == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (const Child& other : children_) {
      close(other.go);
      close(other.done);
    }
    close(go[1]);
    close(done[0]);
    work(Turn(go[0], done[1]));
    std::_Exit(0);
  }
  close(go[0]);
  close(done[1]);
  children_.push_back({process, go[1], done[0]});
}

void Turns::Run(int rounds) {
  std::signal(SIGPIPE, SIG_IGN);
  for (int round = 0; round < rounds; ++round) {
    for (const Child& child : children_) {
      WriteByte(child.go);
      if (!ReadByte(child.done)) Fail("a process that takes turns has failed");
    }
  }
  for (const Child& child : children_) {
    close(child.go);  // who waits for one turn more fails
    int status = 0;
    pid_t ended = 0;
    do ended = waitpid(child.process, &status, 0);
    while (ended < 0 && errno == EINTR);
    if (ended != child.process || status != 0) Fail("a process that takes turns has failed at its end");
    close(child.done);
  }
  children_.clear();
}

}  // namespace ev::bench
