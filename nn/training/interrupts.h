// Whether somebody has pressed Ctrl-C.
#pragma once

#include <string>

namespace attune::nn {

/// From now on Ctrl-C (SIGINT), SIGTERM and a terminal that closes (SIGHUP, unless nohup ignores it) only set a flag; a
/// second one ends the program as usual, except that a terminal may still close after the first of the other two.
void catch_interrupts();
bool interrupted();
/// As if none had come: for a program that goes on after one. Signals end the program as usual again.
void forget_interrupts();
/// "" for Ctrl-C, " by SIGTERM" and " by SIGHUP" for the others.
std::string interruption();
/// What a shell reports for a program that the signal ends: 130, 143 or 129.
int interrupted_exit_code();

}  // namespace attune::nn
