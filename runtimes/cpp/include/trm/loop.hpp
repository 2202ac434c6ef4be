// The ACT loop for every engine (docs/contract.md, "The loop"): halting, latching, refills.
// An engine makes one call of the graph; everything else is here. Knows no engine and no task.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <limits>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tries.hpp"

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
  // With several tries: how many were begun, the steps of all, and which one gave the answer.
  std::vector<std::int32_t> tries, total_steps, chosen;

  Solution() = default;
  Solution(std::size_t rows, std::size_t cells) { resize(rows, cells); }
  void resize(std::size_t rows, std::size_t cells) {
    answers.resize(rows * cells);
    steps.resize(rows);
    q_halt.resize(rows, std::numeric_limits<float>::quiet_NaN());
    reasons.resize(rows, Stop::running);
  }
};

// Is told of the puzzles that a call has ended; cancels the rest by returning false. With several tries
// only puzzles that have ended have an answer.
using OnStep = std::function<bool(const Solution&, const std::vector<std::size_t>& ended)>;

struct Options : TryOptions {
  std::optional<double> threshold;  // in logits, infinite to run all steps; default: the contract's
  std::optional<std::int64_t> max_steps;
  std::optional<double> deadline;     // in seconds, checked before every call
  std::optional<std::int64_t> slots;  // rows of a call; default: 64, or the fixed batch
  OnStep on_step;
};

// A row is a try of a puzzle: row k * N + i is try k of puzzle i, so that without more tries it is the puzzle.
// Memory: the results of as many tries of each puzzle as were begun of any.
class Rollout {
 public:
  Rollout(Runner& runner, const Tensors& puzzles, const Options& options)
      : runner_(runner), contract_(runner.contract()), puzzles_(puzzles), count_(rows_of(puzzles)) {
    check_inputs(contract_, puzzles, count_);
    refuse_padding(contract_, puzzles.at("inputs"));
    read(options);
    all_ = count_ * tries_.count();
    first_ = tries_.is_vote() ? all_ : count_;
    const std::size_t slots = static_cast<std::size_t>(options.slots.value_or(64));
    most_ = contract_.is_dynamic() ? std::min(slots, all_) : static_cast<std::size_t>(contract_.batch);
    const std::size_t width = contract_.is_dynamic() ? std::min(most_, first_) : most_;
    check_limits(contract_, most_, max_steps_);
    hold(1);
    left_.assign(count_, first_ / count_);
    done_.assign(count_, false);
    if (is_several()) {
      found_ = Solution(count_, contract_.cells());
      for (auto* list : {&found_.tries, &found_.total_steps, &found_.chosen}) list->resize(count_);
    }
    while (slots_.size() < width) slots_.push_back(taken({0, true, true}));
    carry_ = start_carry(contract_, width);
  }

  bool active() const {
    return std::any_of(slots_.begin(), slots_.end(), [](const Slot& slot) { return !slot.idle; });
  }

  // One step of every slot; returns the puzzles that it has ended.
  std::vector<std::size_t> advance() {
    StepOutput output = runner_.step(fed(), carry_);
    carry_ = std::move(output.carry);
    std::vector<std::size_t> over;  // the rows that have stopped
    for (std::size_t index = 0; index < slots_.size(); ++index) {
      if (slots_[index].idle) continue;
      latch(slots_[index].row, index, output.outputs);
      if (rows_.reasons[slots_[index].row] != Stop::running) over.push_back(slots_[index].row);
    }
    return finish(over);
  }

  // Gives free slots to waiting rows; others idle or, with a dynamic batch, are dropped.
  void refill() {
    std::vector<std::size_t> kept;
    for (std::size_t index = 0; index < slots_.size(); ++index) {
      Slot& slot = slots_[index];
      const Stop reason = slot.idle ? Stop::halted : rows_.reasons[slot.row];
      if (reason == Stop::nonfinite) {
        for (const Spec& spec : contract_.carry) fill_row(spec, carry_.at(spec.name).row(index));
      }
      slot = reason != Stop::running ? taken({slot.row, true, true}) : Slot{slot.row, false, false};
      if (!slot.fresh) tries_.disturb(carry_, index, number(slot.row), rows_.steps[slot.row]);
      if (const Spec* spec = find_spec(contract_.carry, "halted")) {
        char* row = carry_.at("halted").row(index);
        if (spec->dtype == Dtype::int32) set_element<std::int32_t>(row, 0, slot.fresh);
        else set_element<char>(row, 0, slot.fresh);
      }
      if (!slot.idle) kept.push_back(index);
    }
    if (!contract_.is_dynamic()) return;
    if (kept.size() < slots_.size()) {
      std::vector<Slot> slots;
      for (const std::size_t index : kept) slots.push_back(slots_[index]);
      slots_ = std::move(slots);
      for (auto& [name, tensor] : carry_) tensor = take_rows(tensor, kept);
    }
    grow();
  }

  const Solution& so_far() const { return is_several() ? found_ : rows_; }

  // The results; puzzles that are not done get this reason.
  Solution solution(Stop reason) {
    if (!is_several()) {
      std::replace(rows_.reasons.begin(), rows_.reasons.end(), Stop::running, reason);
      return std::move(rows_);
    }
    for (std::size_t puzzle = 0; puzzle < count_; ++puzzle) {
      if (!done_[puzzle]) choose(puzzle, reason);
    }
    return std::move(found_);
  }

 private:
  struct Slot {
    std::size_t row;
    bool idle;   // it is fed the row that it had last
    bool fresh;  // the next step begins its row
  };

  bool is_several() const { return tries_.count() > 1; }
  std::size_t number(std::size_t row) const { return row / count_; }

  // A slot with the next row that waits, or this one without any.
  Slot taken(const Slot& otherwise) {
    const std::optional<std::size_t> row = next_row();
    if (!row) return otherwise;
    hold(number(*row) + 1);
    return {*row, false, true};
  }

  std::optional<std::size_t> next_row() {
    if (next_ < first_) return next_++;
    while (!later_.empty()) {
      const std::size_t row = *later_.begin();
      later_.erase(later_.begin());
      if (done_[row % count_]) continue;
      if (row + count_ < all_) later_.insert(row + count_);
      return row;
    }
    return std::nullopt;
  }

  // Makes room for the results of so many tries of each puzzle.
  void hold(std::size_t tries) {
    const std::size_t rows = tries * count_;
    if (rows <= scores_.size()) return;
    rows_.resize(rows, contract_.cells());
    scores_.resize(rows, std::numeric_limits<float>::quiet_NaN());
  }

  // The inputs of all slots, in their guises.
  Tensors fed() const {
    std::vector<std::size_t> puzzles;
    for (const Slot& slot : slots_) puzzles.push_back(slot.row % count_);
    Tensors inputs;
    for (const auto& [name, tensor] : puzzles_) inputs[name] = take_rows(tensor, puzzles);
    for (std::size_t index = 0; index < slots_.size(); ++index) {
      if (const Guise* guise = tries_.guise(number(slots_[index].row))) guise->ask(inputs["inputs"].row(index));
    }
    return inputs;
  }

  // Ends puzzles with a sure try, and asks others again; returns the puzzles that are done now.
  std::vector<std::size_t> finish(const std::vector<std::size_t>& over) {
    std::vector<std::size_t> ended;
    for (const std::size_t row : over) {
      const std::size_t puzzle = row % count_;
      if (left_[puzzle] > 0) --left_[puzzle];
      if (!tries_.is_vote() && is_sure(row)) left_[puzzle] = 0;
      else if (!tries_.is_vote() && row == puzzle) ask_again(puzzle);
      if (left_[puzzle] > 0 || done_[puzzle]) continue;
      done_[puzzle] = true;
      ended.push_back(puzzle);
    }
    for (const std::size_t puzzle : ended) {
      for (std::size_t row = puzzle; row < rows_.reasons.size(); row += count_) {
        if (rows_.reasons[row] == Stop::running) rows_.reasons[row] = Stop::cancelled;
      }
      if (is_several()) choose(puzzle, std::nullopt);
    }
    return ended;
  }

  bool is_sure(std::size_t row) const {
    return rows_.reasons[row] != Stop::nonfinite && scores_[row] > sure_;
  }

  void ask_again(std::size_t puzzle) {
    left_[puzzle] = tries_.count() - 1;
    later_.insert(puzzle + count_);
  }

  // New slots for rows that still wait, where more are waiting than slots became free.
  void grow() {
    std::vector<Slot> more;
    while (slots_.size() + more.size() < most_) {
      more.push_back(taken({0, true, true}));
      if (more.back().idle) break;
    }
    if (!more.empty() && more.back().idle) more.pop_back();
    if (more.empty()) return;
    slots_.insert(slots_.end(), more.begin(), more.end());
    for (const auto& [name, fresh] : start_carry(contract_, more.size())) {
      Tensor& tensor = carry_.at(name);
      tensor.shape[0] += fresh.shape[0];
      tensor.data.insert(tensor.data.end(), fresh.data.begin(), fresh.data.end());
    }
  }

  // The result of a puzzle, from its tries; `stopped` is why not all of them are done.
  void choose(std::size_t puzzle, std::optional<Stop> stopped) {
    const std::size_t cells = contract_.cells();
    std::vector<Tries::Result> tries;
    std::int32_t begun = 0, total = 0;
    for (std::size_t row = puzzle; row < rows_.reasons.size(); row += count_) {
      const float q_halt = rows_.q_halt[row];
      const bool usable = rows_.reasons[row] != Stop::nonfinite && std::isfinite(q_halt);
      tries.push_back({usable, is_sure(row), scores_[row], q_halt, &rows_.answers[row * cells]});
      begun += rows_.steps[row] > 0;
      total += rows_.steps[row];
    }
    const std::size_t chosen = tries_.chosen(tries, cells), row = chosen * count_ + puzzle;
    std::copy_n(tries[chosen].answer, cells, &found_.answers[puzzle * cells]);
    found_.steps[puzzle] = rows_.steps[row];
    found_.q_halt[puzzle] = rows_.q_halt[row];
    found_.reasons[puzzle] = stopped.value_or(rows_.reasons[row]);
    found_.tries[puzzle] = begun;
    found_.total_steps[puzzle] = total;
    found_.chosen[puzzle] = static_cast<std::int32_t>(chosen);
  }

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
    const bool all = options.threshold && std::isinf(*options.threshold);  // of the steps are run
    sure_ = all ? narrowed(contract_.threshold) : threshold_;
    tries_ = Tries(contract_, options);
  }

  void latch(std::size_t own, std::size_t row, const Tensors& outputs) {
    const bool is_loop = contract_.is_loop();
    std::int32_t& steps = rows_.steps[own];
    steps = is_loop ? element<std::int32_t>(outputs.at("steps").row(row), 0) : steps + 1;
    if (!is_finite(contract_.outputs, outputs, row) || !is_finite(contract_.carry, carry_, row)) {
      rows_.reasons[own] = Stop::nonfinite;
      return;
    }
    const Spec& logits = *find_spec(contract_.outputs, "logits");
    for (std::size_t cell = 0; cell < contract_.cells(); ++cell) {
      rows_.answers[own * contract_.cells() + cell] =
          is_loop ? element<std::int32_t>(outputs.at("answers").row(row), cell)
                  : largest(logits, outputs.at("logits").row(row), cell);
    }
    if (const Guise* guise = tries_.guise(number(own))) guise->undo(&rows_.answers[own * contract_.cells()]);
    const auto head = [&](const std::string& name) {
      return real(*find_spec(contract_.outputs, name), outputs.at(name).row(row), 0);
    };
    const float q_halt = rows_.q_halt[own] = head("q_halt_logits");
    scores_[own] = contract_.halt_kind == "q_halt" ? q_halt : q_halt - head("q_continue_logits");
    if (scores_[own] > threshold_) rows_.reasons[own] = Stop::halted;
    else if (is_loop || steps >= max_steps_) rows_.reasons[own] = Stop::max_steps;
  }

  Runner& runner_;
  const Contract& contract_;
  const Tensors& puzzles_;
  std::size_t count_;                // of the puzzles
  float threshold_ = 0, sure_ = 0;   // a row stops, and a puzzle is not asked again, above them
  std::int32_t max_steps_ = 1;
  Tries tries_;
  std::size_t most_ = 0;              // slots
  std::vector<Slot> slots_;
  std::size_t next_ = 0, first_ = 0;  // the rows that wait from the beginning
  std::size_t all_ = 0;               // rows
  std::set<std::size_t> later_;       // those that wait since, all higher: the next of each puzzle
  std::vector<std::size_t> left_;     // tries of each puzzle to be finished
  std::vector<bool> done_;
  Tensors carry_;
  Solution rows_, found_;  // of the rows; with several tries of the puzzles
  std::vector<float> scores_;
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
