// Modes of the calling thread, each until its guard goes.
#pragma once

namespace attune {

bool grad_enabled();

class GradMode {
 public:
  explicit GradMode(bool on) noexcept;
  ~GradMode();
  GradMode(const GradMode&) = delete;
  GradMode& operator=(const GradMode&) = delete;

 private:
  bool before_;
};
/// Operations are plain arithmetic: nothing is recorded.
///
///     {
///       const NoGrad off;
///       w -= 0.1 * w.grad();  // a step by hand
///     }
struct NoGrad : GradMode {
  NoGrad() noexcept : GradMode(false) {}
};
/// Records again inside of NoGrad.
struct EnableGrad : GradMode {
  EnableGrad() noexcept : GradMode(true) {}
};

/// Every floating result, forward and backward, is searched for NaN and infinity; the first one throws AnomalyError
/// with the operation's name and call site, what its operands are at that element (or between which values they lie),
/// and, in a backward pass, the loss: a finite one says that the fault is in the gradient alone. Nodes keep their
/// operands meanwhile, as under Tracing.
class DetectAnomaly {
 public:
  DetectAnomaly() noexcept;
  ~DetectAnomaly();
  DetectAnomaly(const DetectAnomaly&) = delete;
  DetectAnomaly& operator=(const DetectAnomaly&) = delete;

 private:
  bool before_;
};

/// Nodes recorded under this guard keep a Trace (tape/tracing.h).
class Tracing {
 public:
  Tracing() noexcept;
  ~Tracing();
  Tracing(const Tracing&) = delete;
  Tracing& operator=(const Tracing&) = delete;

 private:
  bool before_;
};

}  // namespace attune
