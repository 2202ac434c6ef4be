// How puzzles are asked again, and which answer is chosen (docs/contract.md, "Trying again").
// Knows the contract; knows no engine and no task.
#pragma once

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <map>
#include <numeric>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tensors.hpp"

namespace trm {

// Word n of the stream that starts at `start`.
inline std::uint32_t word(std::uint32_t start, std::uint32_t n) {
  std::uint32_t x = start + (n + 1) * 0x9E3779B9U;
  x = (x ^ (x >> 16)) * 0x7FEB352DU;
  x = (x ^ (x >> 15)) * 0x846CA68BU;
  return x ^ (x >> 16);
}

// The start of the stream with these names.
inline std::uint32_t stream(std::initializer_list<std::uint32_t> names) {
  std::uint32_t start = 0;
  for (const std::uint32_t name : names) start = word(start ^ name, 0);
  return start;
}

// A puzzle under a symmetry of its task, and the way back for its answer.
struct Guise {
  std::vector<std::size_t> cells;    // cell i of the guise is cell [i] of the puzzle
  std::vector<std::int32_t> tokens;  // token id of the guise for each of the puzzle

  Guise(std::size_t count, std::size_t ids) : cells(count), tokens(ids) {
    std::iota(cells.begin(), cells.end(), std::size_t{0});
    std::iota(tokens.begin(), tokens.end(), 0);
  }
  void ask(char* row) const {
    std::vector<std::int32_t> puzzle(cells.size());
    std::memcpy(puzzle.data(), row, puzzle.size() * sizeof(std::int32_t));
    for (std::size_t i = 0; i < cells.size(); ++i)
      set_element(row, i, tokens[static_cast<std::size_t>(puzzle[cells[i]])]);
  }
  void undo(std::int32_t* answer) const {
    const std::vector<std::int32_t> found(answer, answer + cells.size());
    for (std::size_t i = 0; i < cells.size(); ++i) {
      const auto own = std::find(tokens.begin(), tokens.end(), found[i]);
      answer[cells[i]] = static_cast<std::int32_t>(own - tokens.begin());
    }
  }
};

inline Guise draw_guise(const Contract& contract, std::uint32_t start, std::uint32_t redraw) {
  constexpr std::uint32_t WALK = 256;
  const auto& [orders, classes] = *contract.symmetries;
  std::uint32_t taken = WALK;
  for (const auto& ids : classes) taken += static_cast<std::uint32_t>(ids.size()) - 1;
  std::uint32_t n = redraw * taken;
  const auto next = [&](std::size_t choices) { return word(start, n++) % choices; };
  Guise guise(contract.cells(), static_cast<std::size_t>(contract.ids()));
  for (std::uint32_t i = 0; i < WALK; ++i) {
    const std::size_t index = next(orders.size() + 1);
    if (index == orders.size()) continue;
    const std::vector<std::size_t> before = guise.cells;
    for (std::size_t cell = 0; cell < before.size(); ++cell)
      guise.cells[cell] = before[static_cast<std::size_t>(orders[index][cell])];
  }
  for (const auto& ids : classes) {
    std::vector<std::int64_t> shuffled = ids;
    for (std::size_t j = ids.size() - 1; j > 0; --j) std::swap(shuffled[j], shuffled[next(j + 1)]);
    for (std::size_t j = 0; j < ids.size(); ++j)
      guise.tokens[static_cast<std::size_t>(ids[j])] = static_cast<std::int32_t>(shuffled[j]);
  }
  return guise;
}

// At most so many different guises, the puzzle itself first; fewer if there are no more.
inline std::vector<Guise> draw_guises(const Contract& contract, std::size_t tries, std::uint32_t seed) {
  constexpr std::uint32_t REDRAWS = 64;
  std::vector<Guise> found{Guise(contract.cells(), static_cast<std::size_t>(contract.ids()))};
  const auto key = [](const Guise& guise) { return std::make_pair(guise.cells, guise.tokens); };
  std::set<std::pair<std::vector<std::size_t>, std::vector<std::int32_t>>> known{key(found[0])};
  for (std::size_t k = 1; k < tries; ++k) {
    const std::uint32_t start = stream({seed, static_cast<std::uint32_t>(k), 0});
    for (std::uint32_t redraw = 0; redraw < REDRAWS && found.size() == k; ++redraw) {
      Guise guise = draw_guise(contract, start, redraw);
      if (known.insert(key(guise)).second) found.push_back(std::move(guise));
    }
    if (found.size() == k) break;
  }
  return found;
}

constexpr std::int64_t MOST_TRIES = 1 << 16;

struct TryOptions {
  std::int64_t tries = 1;          // of a puzzle whose answer is not sure, at most
  std::string vary = "symmetry";   // or noise, both: how they differ
  std::string choose = "score";    // or first, vote: the answer among them
  std::int64_t seed = 0;           // that they are drawn from, 0 to 2^32 - 1
  double sigma = 0.2;              // deviation of the noise
};

// The tries of a model.
class Tries {
 public:
  Tries() = default;

  // Refuses wrong options, and what the model cannot do.
  Tries(const Contract& contract, const TryOptions& options) : choose_(options.choose) {
    constexpr std::int64_t SEEDS = std::int64_t{1} << 32;
    const auto refuse = [](bool wrong, const std::string& text) {
      if (wrong) throw Error(text, USAGE);
    };
    const auto refuse_other = [&](const char* name, const std::string& value,
                                  const std::vector<std::string>& known) {
      refuse(std::find(known.begin(), known.end(), value) == known.end(),
             std::string(name) + ": expected one of " + known[0] + ", " + known[1] + ", " + known[2] +
                 ", got " + json_text(value) + ".");
    };
    const std::int64_t tries = options.tries;
    refuse(tries < 1, "tries: expected 1 or more, got " + std::to_string(tries) + ".");
    refuse_other("vary", options.vary, {"symmetry", "noise", "both"});
    refuse_other("choose", options.choose, {"score", "first", "vote"});
    refuse(options.seed < 0 || options.seed >= SEEDS, "seed: expected an integer of 0 to 4294967295.");
    refuse(!(options.sigma > 0 && options.sigma < 1000), "sigma: expected a number above 0 and below 1000.");
    refuse(tries > MOST_TRIES, "tries: expected at most 65536, got " + std::to_string(tries) + ".");
    if (tries == 1) return;
    count_ = static_cast<std::size_t>(tries);
    seed_ = static_cast<std::uint32_t>(options.seed);
    if (options.vary != "noise") {
      refuse(!contract.symmetries,
             "The contract of this model lists no symmetries, so its puzzles have no other guise; give noise "
             "for vary, or export the model again if it is of Sudoku, mazes or ARC.");
      refuse(contract.num_puzzle_identifiers > 1,
             "This model identifies the rule of a puzzle by its puzzle identifier, and a guise follows "
             "another rule; give noise for vary.");
      guises_ = draw_guises(contract, count_, seed_);
    }
    if (options.vary == "symmetry") {
      count_ = guises_.size();
      return;
    }
    states_ = own_states(contract);
    refuse(states_.empty(),
           "This model has no float32 states between its steps, so noise has no place; give symmetry for "
           "vary, or export the model with granularity step and float I/O.");
    scale_ = narrowed(options.sigma / std::sqrt(21845.0));
  }

  std::size_t count() const { return count_; }
  bool is_vote() const { return choose_ == "vote"; }
  const Guise* guise(std::size_t k) const { return guises_.empty() ? nullptr : &guises_[k % guises_.size()]; }

  // Noise on the states of a slot after step t (from 1) of try k.
  void disturb(Tensors& carry, std::size_t slot, std::size_t k, std::int32_t t) const {
    if (states_.empty() || k == 0) return;
    std::size_t size = 0;
    for (const Spec& spec : states_) size += spec.row_size();
    const std::uint32_t start = stream({seed_, static_cast<std::uint32_t>(k), 1});
    std::uint32_t n = static_cast<std::uint32_t>(static_cast<std::size_t>(t - 1) * size);
    for (const Spec& spec : states_) {
      char* row = carry.at(spec.name).row(slot);
      for (std::size_t i = 0; i < spec.row_size(); ++i) {
        const std::uint32_t x = word(start, n++);
        const std::uint32_t sum = (x & 255) + (x >> 8 & 255) + (x >> 16 & 255) + (x >> 24);
        const float value = (static_cast<float>(sum) - 510.0F) * scale_;
        set_element(row, i, element<float>(row, i) + value);
      }
    }
  }

  struct Result {
    bool usable, sure;
    float score, q_halt;
    const std::int32_t* answer;
  };
  // The index of the chosen one; of equal ones the lowest.
  std::size_t chosen(const std::vector<Result>& tries, std::size_t cells) const {
    const auto first_of = [&](bool Result::*wanted) {
      return std::find_if(tries.begin(), tries.end(), [&](const Result& one) { return one.*wanted; });
    };
    if (choose_ == "first") {
      auto found = first_of(&Result::sure);
      if (found == tries.end()) found = first_of(&Result::usable);
      return found == tries.end() ? 0 : static_cast<std::size_t>(found - tries.begin());
    }
    using Value = std::pair<double, double>;
    constexpr double LEAST = -std::numeric_limits<double>::infinity();
    std::vector<Value> values;
    for (const Result& one : tries) {
      if (!one.usable) values.emplace_back(LEAST, LEAST);
      else values.push_back(is_vote() ? votes(tries, one, cells) : Value(one.score, 0));
    }
    return static_cast<std::size_t>(std::max_element(values.begin(), values.end()) - values.begin());
  }

 private:
  // The model's own float32 carry, in the order of the contract.
  static std::vector<Spec> own_states(const Contract& contract) {
    std::set<std::string> always{"steps", "halted", "passes"};
    for (const Spec& spec : contract.inputs) always.insert("current_" + spec.name);
    std::vector<Spec> found;
    for (const Spec& spec : contract.carry) {
      if (spec.dtype == Dtype::float32 && !always.count(spec.name)) found.push_back(spec);
    }
    return found;
  }

  // Equal answers, and the mean of their sureness.
  static std::pair<double, double> votes(const std::vector<Result>& tries, const Result& one,
                                         std::size_t cells) {
    double count = 0, sum = 0;
    for (const Result& other : tries) {
      if (!other.usable || !std::equal(one.answer, one.answer + cells, other.answer)) continue;
      const double logit = std::min(60.0, std::max(-60.0, static_cast<double>(other.q_halt)));
      ++count;
      sum += 1 / (1 + std::exp(-logit));
    }
    return {count, sum / count};
  }

  std::size_t count_ = 1;
  std::string choose_ = "score";
  std::uint32_t seed_ = 0;
  float scale_ = 0;
  std::vector<Guise> guises_;  // none: the puzzle as it is
  std::vector<Spec> states_;   // none: no noise
};

}  // namespace trm
