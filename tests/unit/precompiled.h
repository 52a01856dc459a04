// What most unit tests include, read once: a quarter of their compile time. Sources include what they use all the same;
// `./dev check` compiles them without this.
#include <doctest/doctest.h>

#include "nn/nn.h"
#include "optim/optim.h"
#include "tests/unit/nn_checks.h"
#include "tests/unit/plain.h"
