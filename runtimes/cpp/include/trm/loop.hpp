// The ACT loop for every engine (docs/contract.md, "The loop"): halting, latching, refills.
// An engine makes one call of the graph; everything else is here. Knows no engine and no task.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "tensors.hpp"

namespace trm {

struct StepOutput {
  Tensors outputs, carry;  // the carry by its incoming names
};

// One engine with one model.
class Runner {
 public:
  explicit Runner(Contract contract) : contract_(std::move(contract)) {}
  virtual ~Runner() = default;
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;

  const Contract& contract() const { return contract_; }
  virtual std::string engine() const = 0;
  // One call of the graph; what goes in has been checked.
  virtual StepOutput call(const Tensors& inputs, const Tensors& carry) = 0;

  // One checked call.
  StepOutput checked_call(const Tensors& inputs, const Tensors& carry) {
    check_step_call(contract_, inputs, carry);
    StepOutput found = call(inputs, carry);
    Problems problems;
    shape_problems("output", contract_.outputs, found.outputs, rows_of(inputs), problems);
    shape_problems("next carry", contract_.carry, found.carry, rows_of(inputs), problems);
    refuse_if(problems, "A step returned other tensors than its contract:");
    return found;
  }

  // One ACT step: a call, or the passes of a block.
  StepOutput step(const Tensors& inputs, const Tensors& carry) {
    StepOutput found{{}, carry};
    if (contract_.granularity == "block" && carry.count("passes")) {
      Tensor& passes = found.carry["passes"];
      std::fill(passes.data.begin(), passes.data.end(), '\0');
    }
    for (std::int32_t pass = 0; pass < contract_.passes; ++pass) found = checked_call(inputs, found.carry);
    return found;
  }

 private:
  Contract contract_;
};

enum class Stop : std::int32_t { halted, max_steps, deadline, cancelled, nonfinite, running };
constexpr const char* STOP_REASONS[] = {"halted", "max_steps", "deadline", "cancelled", "nonfinite"};

struct Solution {
  std::vector<std::int32_t> answers;  // (N, S)
  std::vector<std::int32_t> steps;
  std::vector<float> q_halt;  // NaN without a finite step
  std::vector<Stop> reasons;
};

// Is told of the puzzles that a call has ended; cancels the rest by returning false.
using OnStep = std::function<bool(const Solution&, const std::vector<std::size_t>& ended)>;

struct Options {
  std::optional<double> threshold;  // in logits, infinite to run all steps; default: the contract's
  std::optional<std::int64_t> max_steps;
  std::optional<double> deadline;     // in seconds, checked before every call
  std::optional<std::int64_t> slots;  // rows of a call; default: 64, or the fixed batch
  OnStep on_step;
};

class Rollout {
 public:
  Rollout(Runner& runner, const Tensors& puzzles, const Options& options)
      : runner_(runner), contract_(runner.contract()), puzzles_(puzzles) {
    const std::size_t count = rows_of(puzzles);
    check_inputs(contract_, puzzles, count);
    refuse_padding(contract_, puzzles.at("inputs"));
    read(options);
    const std::size_t most = static_cast<std::size_t>(options.slots.value_or(64));
    const std::size_t width =
        contract_.is_dynamic() ? std::min(most, count) : static_cast<std::size_t>(contract_.batch);
    check_limits(contract_, width, max_steps_);
    found_ = {std::vector<std::int32_t>(count * contract_.cells()), std::vector<std::int32_t>(count),
              std::vector<float>(count, std::numeric_limits<float>::quiet_NaN()),
              std::vector<Stop>(count, Stop::running)};
    for (std::size_t slot = 0; slot < width; ++slot)
      slots_.push_back({slot < count ? slot : 0, slot >= count});
    next_ = std::min(width, count);
    carry_ = start_carry(contract_, width);
  }

  bool active() const {
    return std::any_of(slots_.begin(), slots_.end(), [](const Slot& slot) { return !slot.idle; });
  }

  // One step of every slot; returns the puzzles that it has ended.
  std::vector<std::size_t> advance() {
    std::vector<std::size_t> rows, ended;
    for (const Slot& slot : slots_) rows.push_back(slot.puzzle);
    Tensors inputs;
    for (const auto& [name, tensor] : puzzles_) inputs[name] = take_rows(tensor, rows);
    StepOutput output = runner_.step(inputs, carry_);
    carry_ = std::move(output.carry);
    for (std::size_t index = 0; index < slots_.size(); ++index) {
      if (slots_[index].idle) continue;
      latch(slots_[index].puzzle, index, output.outputs);
      if (found_.reasons[slots_[index].puzzle] != Stop::running) ended.push_back(slots_[index].puzzle);
    }
    return ended;
  }

  // Gives free slots to waiting puzzles; others idle or, with a dynamic batch, are dropped.
  void refill() {
    std::vector<std::size_t> kept;
    for (std::size_t index = 0; index < slots_.size(); ++index) {
      Slot& slot = slots_[index];
      const Stop reason = slot.idle ? Stop::halted : found_.reasons[slot.puzzle];
      if (reason == Stop::nonfinite) {
        for (const Spec& spec : contract_.carry) fill_row(spec, carry_.at(spec.name).row(index));
      }
      if (reason != Stop::running)
        slot = next_ < found_.reasons.size() && !slot.idle ? Slot{next_++, false} : Slot{slot.puzzle, true};
      if (const Spec* spec = find_spec(contract_.carry, "halted")) {
        char* row = carry_.at("halted").row(index);
        if (spec->dtype == Dtype::int32) set_element<std::int32_t>(row, 0, reason != Stop::running);
        else set_element<char>(row, 0, reason != Stop::running);
      }
      if (!slot.idle) kept.push_back(index);
    }
    if (!contract_.is_dynamic() || kept.size() == slots_.size()) return;
    std::vector<Slot> slots;
    for (const std::size_t index : kept) slots.push_back(slots_[index]);
    slots_ = std::move(slots);
    for (auto& [name, tensor] : carry_) tensor = take_rows(tensor, kept);
  }

  const Solution& so_far() const { return found_; }

  // The results; puzzles that have not stopped get this reason.
  Solution solution(Stop reason) {
    std::replace(found_.reasons.begin(), found_.reasons.end(), Stop::running, reason);
    return std::move(found_);
  }

 private:
  struct Slot {
    std::size_t puzzle;
    bool idle;
  };  // an idle slot is fed the puzzle that it had last

  void read(const Options& options) {
    const auto refuse = [](bool wrong, const std::string& text) {
      if (wrong) throw Error(text, USAGE);
    };
    const std::int64_t steps = options.max_steps.value_or(contract_.max_steps);
    refuse(steps < 1, "max_steps: expected 1 or more, got " + std::to_string(steps) + ".");
    refuse(steps > contract_.max_steps, "max_steps: expected at most " + std::to_string(contract_.max_steps) +
                                            ", after which this model restarts a puzzle, got " +
                                            std::to_string(steps) +
                                            "; give fewer, or export the model with more.");
    refuse(options.threshold && std::isnan(*options.threshold),
           "halt: expected learned, max_steps or a finite number.");
    refuse(options.deadline && !(*options.deadline >= 0), "deadline: expected seconds, 0 or more.");
    refuse(options.slots && *options.slots < 1, "batch_size: expected 1 or more.");
    refuse(options.slots && !contract_.is_dynamic() && *options.slots != contract_.batch,
           "batch_size: expected " + std::to_string(contract_.batch) +
               ", the fixed batch of this model; drop it, or "
               "export the model with a dynamic batch.");
    refuse(contract_.is_loop() && (options.threshold || steps != contract_.max_steps),
           "This model contains the complete loop and halts by its own rule; drop halt and max_steps, or "
           "export it "
           "with granularity step.");
    max_steps_ = static_cast<std::int32_t>(steps);
    threshold_ = narrowed(options.threshold.value_or(contract_.threshold));
  }

  void latch(std::size_t puzzle, std::size_t row, const Tensors& outputs) {
    const bool is_loop = contract_.is_loop();
    std::int32_t& steps = found_.steps[puzzle];
    steps = is_loop ? element<std::int32_t>(outputs.at("steps").row(row), 0) : steps + 1;
    if (!is_finite(contract_.outputs, outputs, row) || !is_finite(contract_.carry, carry_, row)) {
      found_.reasons[puzzle] = Stop::nonfinite;
      return;
    }
    const Spec& logits = *find_spec(contract_.outputs, "logits");
    for (std::size_t cell = 0; cell < contract_.cells(); ++cell) {
      found_.answers[puzzle * contract_.cells() + cell] =
          is_loop ? element<std::int32_t>(outputs.at("answers").row(row), cell)
                  : largest(logits, outputs.at("logits").row(row), cell);
    }
    const auto head = [&](const std::string& name) {
      return real(*find_spec(contract_.outputs, name), outputs.at(name).row(row), 0);
    };
    const float q_halt = found_.q_halt[puzzle] = head("q_halt_logits");
    const float score = contract_.halt_kind == "q_halt" ? q_halt : q_halt - head("q_continue_logits");
    if (score > threshold_) found_.reasons[puzzle] = Stop::halted;
    else if (is_loop || steps >= max_steps_) found_.reasons[puzzle] = Stop::max_steps;
  }

  Runner& runner_;
  const Contract& contract_;
  const Tensors& puzzles_;
  float threshold_ = 0;
  std::int32_t max_steps_ = 1;
  std::vector<Slot> slots_;
  std::size_t next_ = 0;  // the first puzzle that waits
  Tensors carry_;
  Solution found_;
};

// Solves N puzzles: each has its answer from the step at which it stopped.
inline Solution solve(Runner& runner, const Tensors& puzzles, const Options& options = {}) {
  using Clock = std::chrono::steady_clock;
  const auto started = Clock::now();
  const double seconds = options.deadline.value_or(std::numeric_limits<double>::infinity());
  Rollout rollout(runner, puzzles, options);
  while (rollout.active()) {
    if (std::chrono::duration<double>(Clock::now() - started).count() >= seconds) break;
    const std::vector<std::size_t> ended = rollout.advance();
    if (options.on_step && !options.on_step(rollout.so_far(), ended))
      return rollout.solution(Stop::cancelled);
    rollout.refill();
  }
  return rollout.solution(Stop::deadline);
}

}  // namespace trm
