// Tensors with the batch on axis 0, and the checks before and after every call. Knows no engine.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "contract.hpp"

namespace trm {

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "Tensors are little-endian, as this machine is not."
#endif

// Elements in C order. A bool has one byte, 0 or 1.
struct Tensor {
  Dtype dtype = Dtype::float32;
  Shape shape;
  std::vector<char> data;

  std::size_t rows() const { return shape.empty() ? 0 : static_cast<std::size_t>(shape[0]); }
  std::size_t row_bytes() const { return rows() ? data.size() / rows() : 0; }
  char* row(std::size_t index) { return data.data() + index * row_bytes(); }
  const char* row(std::size_t index) const { return data.data() + index * row_bytes(); }
};
using Tensors = std::map<std::string, Tensor>;

template <typename T>
T element(const char* data, std::size_t index) {
  T value;
  std::memcpy(&value, data + index * sizeof(T), sizeof(T));
  return value;
}

template <typename T>
void set_element(char* data, std::size_t index, T value) {
  std::memcpy(data + index * sizeof(T), &value, sizeof(T));
}

inline Shape shape_of(const Spec& spec, std::size_t rows) {
  Shape shape = spec.shape;
  shape[0] = static_cast<std::int64_t>(rows);
  return shape;
}

inline Tensor empty_tensor(const Spec& spec, std::size_t rows) {
  return {spec.dtype, shape_of(spec, rows), std::vector<char>(rows * spec.row_bytes())};
}

// One row of the carry as it is before the first call.
inline void fill_row(const Spec& spec, char* row) {
  for (std::size_t i = 0; i < spec.row_size(); ++i) {
    if (spec.dtype == Dtype::float32) set_element(row, i, narrowed(spec.fill));
    else if (spec.dtype == Dtype::int32) set_element(row, i, static_cast<std::int32_t>(spec.fill));
    else set_element(row, i, static_cast<std::int8_t>(spec.fill));
  }
}

inline Tensors start_carry(const Contract& contract, std::size_t rows) {
  Tensors carry;
  for (const Spec& spec : contract.carry) {
    Tensor& tensor = carry[spec.name] = empty_tensor(spec, rows);
    for (std::size_t row = 0; row < rows; ++row) fill_row(spec, tensor.row(row));
  }
  return carry;
}

// These rows of a tensor, in this order.
inline Tensor take_rows(const Tensor& tensor, const std::vector<std::size_t>& rows) {
  Tensor found{tensor.dtype, tensor.shape, std::vector<char>(rows.size() * tensor.row_bytes())};
  found.shape[0] = static_cast<std::int64_t>(rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i)
    std::memcpy(found.row(i), tensor.row(rows[i]), tensor.row_bytes());
  return found;
}

// The real number that an element stands for, in float32.
inline float real(const Spec& spec, const char* data, std::size_t index) {
  if (spec.dtype == Dtype::float32) return element<float>(data, index);
  const int stored = element<std::int8_t>(data, index);
  return static_cast<float>(stored - spec.zero_point) * spec.scale;
}

// The smallest index of the largest of the logits of a cell.
inline std::int32_t largest(const Spec& logits, const char* row, std::size_t cell) {
  const std::size_t ids = static_cast<std::size_t>(logits.shape[2]), first = cell * ids;
  std::size_t best = 0;
  for (std::size_t id = 1; id < ids; ++id) {
    const bool more = logits.dtype == Dtype::float32
                          ? element<float>(row, first + id) > element<float>(row, first + best)
                          : element<std::int8_t>(row, first + id) > element<std::int8_t>(row, first + best);
    if (more) best = id;
  }
  return static_cast<std::int32_t>(best);
}

inline bool all_finite(const char* data, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    if (!std::isfinite(element<float>(data, i))) return false;
  }
  return true;
}

// Whether every float32 tensor of a row is finite.
inline bool is_finite(const Specs& specs, const Tensors& tensors, std::size_t row) {
  for (const Spec& spec : specs) {
    if (spec.dtype == Dtype::float32 && !all_finite(tensors.at(spec.name).row(row), spec.row_size()))
      return false;
  }
  return true;
}

// Names, dtypes and shapes that differ from those of the contract.
inline void shape_problems(const std::string& role, const Specs& specs, const Tensors& tensors,
                           std::size_t rows, Problems& problems) {
  for (const auto& [name, unused] : tensors) {
    if (!find_spec(specs, name)) problems.push_back(role + " '" + name + "': unknown");
  }
  for (const Spec& spec : specs) {
    const auto found = tensors.find(spec.name);
    const std::string place = role + " '" + spec.name + "': ";
    if (found == tensors.end()) {
      problems.push_back(place + "missing");
      continue;
    }
    const Tensor& tensor = found->second;
    if (tensor.dtype != spec.dtype) {
      problems.push_back(place + "expected dtype " + name_of(spec.dtype) + ", got " + name_of(tensor.dtype));
    } else if (tensor.shape != shape_of(spec, rows) || tensor.data.size() != rows * spec.row_bytes()) {
      problems.push_back(place + "expected shape " + text_of(shape_of(spec, rows)) + ", got " +
                         text_of(tensor.shape));
    }
  }
}

inline void value_problems(const Contract& contract, const Spec& spec, const Tensor& tensor,
                           Problems& problems) {
  const std::size_t size = spec.row_size(), count = size * tensor.rows();
  if (spec.dtype == Dtype::float32) {
    if (!all_finite(tensor.data.data(), count)) {
      problems.push_back("input '" + spec.name + "': contains NaN or infinite values");
    }
    return;
  }
  const std::int64_t limit = spec.name == "inputs" ? contract.ids() : contract.num_puzzle_identifiers;
  for (std::size_t i = 0; i < count; ++i) {
    const std::int32_t id = element<std::int32_t>(tensor.data.data(), i);
    if (id >= 0 && id < limit) continue;
    const std::string column = spec.shape.size() > 1 ? ", column " + std::to_string(i % size) : "";
    problems.push_back("input '" + spec.name + "', row " + std::to_string(i / size) + column + ": id " +
                       std::to_string(id) + " is not in 0.." + std::to_string(limit - 1));
  }
}

// Refuses inputs that do not fit the contract: names, dtypes, shapes, ids, NaN.
inline void check_inputs(const Contract& contract, const Tensors& inputs, std::size_t rows) {
  Problems problems;
  shape_problems("input", contract.inputs, inputs, rows, problems);
  if (problems.empty() && rows == 0) problems.emplace_back("inputs: expected 1 or more rows");
  if (problems.empty()) {
    for (const Spec& spec : contract.inputs) value_problems(contract, spec, inputs.at(spec.name), problems);
  }
  refuse_if(problems, "The puzzles do not fit the model:");
}

inline std::size_t rows_of(const Tensors& inputs) {
  const auto found = inputs.find("inputs");
  return found == inputs.end() ? 0 : found->second.rows();
}

// Refuses puzzles with padding (id 0) before one of their cells, such as digits given as ids, or alone.
inline void refuse_padding(const Contract& contract, const Tensor& inputs) {
  if (!contract.alphabet || !contract.alphabet->front().empty()) return;
  for (std::size_t row = 0; row < inputs.rows(); ++row) {
    std::size_t padding = 0, end = contract.cells();
    const auto is_padding = [&](std::size_t at) { return element<std::int32_t>(inputs.row(row), at) == 0; };
    while (end > 0 && is_padding(end - 1)) --end;  // padding behind the last cell is allowed
    while (padding < end && !is_padding(padding)) ++padding;
    if (end > 0 && padding == end) continue;
    throw Error("The puzzles contain id 0, which is padding: row " + std::to_string(row) + ", column " +
                std::to_string(padding) + ".");
  }
}

// Refuses what a step must not be called with.
inline void check_step_call(const Contract& contract, const Tensors& inputs, const Tensors& carry) {
  const std::size_t rows = contract.is_dynamic() ? rows_of(inputs) : static_cast<std::size_t>(contract.batch);
  check_inputs(contract, inputs, rows);
  Problems problems;
  shape_problems("carry", contract.carry, carry, rows, problems);
  refuse_if(problems, "The carry does not fit the model:");
}

// The number in a variable of the environment, or the default.
inline std::size_t limit_of(const char* variable, std::size_t otherwise) {
  const char* text = std::getenv(variable);
  if (!text || !*text) return otherwise;
  const std::string given = text;
  const bool fits = given.size() < 10 && given.find_first_not_of("0123456789") == std::string::npos;
  if (!fits || std::stoul(given) == 0)
    throw Error(std::string(variable) + ": expected an integer above 0.", USAGE);
  return std::stoul(given);
}

// Refuses what would take too much memory, or too many calls for a puzzle.
inline void check_limits(const Contract& contract, std::size_t rows, std::int32_t max_steps) {
  double bytes = 0;
  for (const Specs* specs : {&contract.inputs, &contract.carry, &contract.outputs}) {
    for (const Spec& spec : *specs)
      bytes += static_cast<double>(spec.row_bytes()) * static_cast<double>(rows);
  }
  if (bytes > static_cast<double>(limit_of("TRM_MAX_MEMORY_MB", 256)) * 1048576) {
    throw Error("The model declares too many MB of arrays for a batch of " + std::to_string(rows) +
                "; use a smaller batch, or set the environment variable TRM_MAX_MEMORY_MB to allow more.");
  }
  const double calls = static_cast<double>(max_steps) * contract.passes;
  if (calls > static_cast<double>(limit_of("TRM_MAX_CALLS", 10000))) {
    throw Error(
        "The model declares too many calls of its graph for a puzzle; give a smaller max_steps, or set the "
        "environment variable TRM_MAX_CALLS to allow more.");
  }
}

}  // namespace trm
