// The recorded cases of `trm-export vectors` (docs/contract.md, "Vectors"): what must be computed, and
// what must be refused.
#pragma once

#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "file.hpp"
#include "loop.hpp"

namespace trm {

class Vectors {
 public:
  explicit Vectors(const std::string& folder)
      : contract_(Contract::parse(read_file(folder + "/contract.json"))) {
    index_ = JsonReader::parse(read_file(folder + "/vectors.json"), "vectors.json");
    data_ = read_file(folder + "/tensors.bin");
    if (text(index_, "format") != "trm-vectors" || whole(index_, "version") != 1)
      throw Error("vectors.json: expected trm-vectors, version 1.");
    if (text(index_, "sha256") != Sha256::of(data_))
      throw Error("tensors.bin is damaged: its digest is another one.");
    for (const auto& [name, value] : get(index_, "tensors", Json::Kind::object).members)
      tensors_[name] = read(value);
  }

  const Contract& contract() const { return contract_; }

  // Compares every case; `failed` is told which one is wrong, and how. Without a runner only what needs
  // no engine: refusals, and that nothing else is refused. A loop is compared in the first case alone,
  // and in refusals. Returns the number of cases.
  std::size_t check(Runner* runner, const std::function<void(const std::string&)>& failed) const {
    std::size_t count = 0;
    for (const Json& one : get(index_, "cases", Json::Kind::list).items) {
      const std::string kind = text(one, "kind");
      std::string wrong;
      if (runner && runner->contract().is_loop() && kind != "refuse" && count > 0) continue;
      try {
        if (kind == "refuse") wrong = refusal(one);
        else if (kind == "solve") wrong = solved(one, runner);
        else if (kind == "step") wrong = stepped(one, runner);
        else throw Error("vectors.json: an unknown kind of case.");
      } catch (const Error& error) {
        wrong = error.what();
      }
      if (!wrong.empty()) failed(text(one, "name") + ": " + wrong);
      ++count;
    }
    return count;
  }

 private:
  static const Json& get(const Json& from, const char* key, Json::Kind kind) {
    const Json* found = from.find(key);
    if (!found || !found->is(kind))
      throw Error(std::string("vectors.json: ") + key + " is missing or of another type.");
    return *found;
  }
  static std::string text(const Json& from, const char* key) { return get(from, key, Json::Kind::text).text; }
  static std::int64_t whole(const Json& from, const char* key) {
    return get(from, key, Json::Kind::whole).whole;
  }

  Tensor read(const Json& value) const {
    Tensor tensor;
    const std::string dtype = text(value, "dtype");
    for (const Dtype one : {Dtype::int32, Dtype::boolean, Dtype::int8}) {
      if (name_of(one) == dtype) tensor.dtype = one;
    }
    std::uint64_t bytes = size_of(tensor.dtype);
    for (const Json& size : get(value, "shape", Json::Kind::list).items) {
      const auto elements = static_cast<std::uint64_t>(size.whole);
      if (!size.is(Json::Kind::whole) || size.whole < 0 || elements > data_.size() || bytes > data_.size())
        throw Error("vectors.json: a wrong shape.");
      tensor.shape.push_back(size.whole);
      bytes *= elements;
    }
    const std::int64_t offset = whole(value, "offset");
    if (name_of(tensor.dtype) != dtype || offset < 0) throw Error("vectors.json: a wrong tensor.");
    try {
      const std::string_view part = file_detail::part(data_, static_cast<std::uint64_t>(offset), bytes);
      tensor.data.assign(part.begin(), part.end());
    } catch (const file_detail::Damaged&) {
      throw Error("vectors.json: a tensor is outside tensors.bin.");
    }
    return tensor;
  }

  const Tensor& tensor(const std::string& name) const {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) throw Error("vectors.json: there is no tensor " + json_text(name) + ".");
    return found->second;
  }

  Tensors named(const Json& one, const char* key) const {
    Tensors found;
    for (const auto& [name, value] : get(one, key, Json::Kind::object).members)
      found[name] = tensor(value.text);
    return found;
  }

  std::string refusal(const Json& one) const {
    try {
      check_step_call(contract_, named(one, "inputs"), named(one, "carry"));
    } catch (const Error&) {
      return "";
    }
    return "it is not refused";
  }

  std::string solved(const Json& one, Runner* runner) const {
    const Tensors inputs = named(one, "inputs");
    check_inputs(contract_, inputs, rows_of(inputs));
    if (!runner) return "";
    Options options;
    if (runner->contract().is_dynamic()) options.slots = whole(one, "slots");
    options.max_steps = whole(one, "max_steps");
    const Json *halt = one.find("halt"), *deadline = one.find("deadline");
    if (halt && halt->is_number()) options.threshold = halt->number;
    if (halt && halt->text == "max_steps") options.threshold = std::numeric_limits<double>::infinity();
    if (deadline && deadline->is_number()) options.deadline = deadline->number;
    const Solution found = solve(*runner, inputs, options);
    std::string wrong;
    const auto compare = [&](const char* key, const auto& list) {
      const Tensor& wanted = tensor(text(one, key));
      const bool equal = wanted.data.size() == list.size() * 4 &&
                         std::memcmp(wanted.data.data(), list.data(), wanted.data.size()) == 0;
      if (!equal) wrong += std::string(wrong.empty() ? "" : ", ") + key + " differ";
    };
    compare("answers", found.answers);
    compare("steps", found.steps);
    compare("stop_reasons", found.reasons);
    return wrong;
  }

  std::string stepped(const Json& one, Runner* runner) const {
    const Tensors inputs = named(one, "inputs"), carry = named(one, "carry");
    check_step_call(contract_, inputs, carry);
    if (!runner) return "";
    const StepOutput found = in_batches(*runner, inputs, carry);
    std::string wrong = compared(*runner, runner->contract().outputs, named(one, "outputs"), found.outputs);
    return wrong + compared(*runner, runner->contract().carry, named(one, "next"), found.carry);
  }

  // A step of all rows, in slices of a fixed batch, the last one filled up with its last row.
  static StepOutput in_batches(Runner& runner, const Tensors& inputs, const Tensors& carry) {
    const Contract& contract = runner.contract();
    const std::size_t rows = rows_of(inputs),
                      batch = contract.is_dynamic() ? rows : static_cast<std::size_t>(contract.batch);
    StepOutput all;
    for (std::size_t from = 0; from < rows; from += batch) {
      std::vector<std::size_t> taken;
      for (std::size_t i = 0; i < batch; ++i) taken.push_back(std::min(from + i, rows - 1));
      Tensors fed, state;
      for (const auto& [name, tensor] : inputs) fed[name] = take_rows(tensor, taken);
      for (const Spec& spec : contract.carry) {
        const auto given = carry.find(spec.name);
        state[spec.name] = given == carry.end() ? start_carry(contract, batch).at(spec.name)
                                                : adapted(spec, take_rows(given->second, taken));
      }
      append(all, runner.step(fed, state), std::min(batch, rows - from));
    }
    return all;
  }

  // A tensor of the case as the file has it: int32 in the place of bool, int8 in that of float32.
  static Tensor adapted(const Spec& spec, const Tensor& tensor) {
    if (spec.dtype == tensor.dtype) return tensor;
    Tensor other = empty_tensor(spec, tensor.rows());
    for (std::size_t i = 0; i < tensor.data.size() / size_of(tensor.dtype); ++i) {
      if (spec.dtype == Dtype::int32) set_element<std::int32_t>(other.data.data(), i, tensor.data[i]);
      if (spec.dtype != Dtype::int8) continue;
      const float number = element<float>(tensor.data.data(), i),
                  scaled = std::nearbyint((std::isnan(number) ? 0 : number) / spec.scale);
      const float stored = std::min(std::max(scaled + static_cast<float>(spec.zero_point), -128.0F), 127.0F);
      set_element(other.data.data(), i, static_cast<std::int8_t>(stored));
    }
    return other;
  }

  static void append(StepOutput& all, const StepOutput& one, std::size_t rows) {
    const auto add = [&](Tensors& to, const Tensors& from) {
      for (const auto& [name, tensor] : from) {
        Tensor& whole = to[name];
        whole.dtype = tensor.dtype;
        whole.data.insert(whole.data.end(), tensor.data.begin(),
                          tensor.data.begin() + static_cast<std::ptrdiff_t>(rows * tensor.row_bytes()));
      }
    };
    add(all.outputs, one.outputs);
    add(all.carry, one.carry);
  }

  std::string compared(const Runner& runner, const Specs& specs, const Tensors& wanted,
                       const Tensors& found) const {
    std::string wrong;
    for (const auto& [name, expected] : wanted) {
      const Spec* spec = find_spec(specs, name);
      if (!spec || !found.count(name)) wrong += name + " is missing. ";
      else if (!equal(runner, *spec, expected, found.at(name))) wrong += name + " differs. ";
    }
    return wrong;
  }

  bool equal(const Runner& runner, const Spec& spec, const Tensor& wanted, const Tensor& found) const {
    if (wanted.dtype != Dtype::float32) return adapted(spec, wanted).data == found.data;
    if (found.data.size() / size_of(found.dtype) != wanted.data.size() / 4) return false;
    double difference = 0, dot = 0, wants = 0, gets = 0;
    for (std::size_t i = 0; i < wanted.data.size() / 4; ++i) {
      const double want = element<float>(wanted.data.data(), i), got = real(spec, found.data.data(), i);
      if (!std::isfinite(got)) return false;
      difference += (got - want) * (got - want);
      dot += got * want;
      wants += want * want;
      gets += got * got;
    }
    const Json* gate = get(index_, "gates", Json::Kind::object).find(runner.contract().precision);
    if (!gate) throw Error("vectors.json: there is no gate for the precision of the file.");
    if (const Json* most = gate->find("relative_l2"))
      return std::sqrt(difference) <= most->number * std::sqrt(wants);
    const Json* least = gate->find("cosine");
    return least && dot >= least->number * std::sqrt(wants) * std::sqrt(gets);
  }

  Contract contract_;
  Json index_;
  std::string data_;
  std::map<std::string, Tensor> tensors_;
};

}  // namespace trm
