// A short training run for test_profile.py: `profiled [exit|throw|thread|many|fork]` also ends in an unusual way.

#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <thread>

#include "nn/nn.h"
#include "optim/optim.h"

using namespace attune;

namespace {

struct Net : nn::Module {
  nn::Linear& up = child<nn::Linear>("up", 2, 8);
  nn::Linear& down = child<nn::Linear>("down", 8, 1);
  Tensor operator()(const Tensor& x, Here here = Here::current()) {
    const nn::Scope scope(*this, "Net", here);
    return scope.out(down(relu(up(x))));
  }
};

}  // namespace

int main(int argc, char** argv) {
  const std::string how = argc > 1 ? argv[1] : "";
  Net net;
  optim::SGD opt{net.parameters(), {.lr = 0.1}};
  for (int step = 0; step < 3; ++step) {
    Tensor x = ones({4, 2});
    mean(square(net(x))).backward();
    opt.step();
  }
  if (how == "exit") std::exit(3);
  if (how == "throw") matmul(ones({2, 3}), ones({2, 3}));
  if (how == "thread") std::thread([&] { net(ones({1, 2})); }).join();
  if (how == "many")
    for (int i = 0; i < 450'000; ++i) neg(ones({}));
  if (how == "fork") {
    const pid_t child = ::fork();
    if (child == 0) std::exit(0);
    ::waitpid(child, nullptr, 0);
    neg(ones({}));
  }
}
