#include "nn/training/interrupts.h"

#include <csignal>

namespace attune::nn {

namespace {

volatile std::sig_atomic_t caught = 0;

void on_signal(int number) {
  caught = number;
  // A terminal may well be closed after Ctrl-C, while the checkpoint is written: that is no second wish to end.
  for (const int each : {SIGINT, SIGTERM, number}) std::signal(each, SIG_DFL);
}

}  // namespace

void catch_interrupts() {
  std::signal(SIGINT, on_signal);
  std::signal(SIGTERM, on_signal);
  if (std::signal(SIGHUP, on_signal) == SIG_IGN) std::signal(SIGHUP, SIG_IGN);
}

void forget_interrupts() {
  caught = 0;
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) std::signal(number, SIG_DFL);
}

bool interrupted() { return caught != 0; }

std::string interruption() { return caught == SIGTERM ? " by SIGTERM" : caught == SIGHUP ? " by SIGHUP" : ""; }

int interrupted_exit_code() { return 128 + caught; }

}  // namespace attune::nn
