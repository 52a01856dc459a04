// fork(): what the child needs is whole in it, whatever other threads of the parent were doing.
#pragma once

namespace attune {

/// While one lives, another thread's fork() waits, so that the child finds what this section changes whole: no mutex
/// held by a thread that is not there, no half-linked list. For a few instructions or one BLAS call, never around a
/// caller's code. May be nested.
class ForkSection {
 public:
  ForkSection() noexcept;
  ~ForkSection();
  ForkSection(const ForkSection&) = delete;
  ForkSection& operator=(const ForkSection&) = delete;
};

/// A mutex held for the length of a scope that fork() waits for.
template <class Mutex>
class ForkSafeLock {
 public:
  explicit ForkSafeLock(Mutex& mutex) : mutex_(mutex) { mutex_.lock(); }
  ~ForkSafeLock() { mutex_.unlock(); }
  ForkSafeLock(const ForkSafeLock&) = delete;
  ForkSafeLock& operator=(const ForkSafeLock&) = delete;

 private:
  const ForkSection section_;  // outermost: left after the mutex
  Mutex& mutex_;
};

namespace detail {
/// `reset` is called in the child of a fork, on its only thread.
void in_forked_child(void (*reset)() noexcept);
}  // namespace detail

}  // namespace attune
