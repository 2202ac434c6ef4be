// The step contract: reading its JSON, and every rule of docs/contract.md. Knows no engine.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "error.hpp"
#include "json.hpp"

namespace trm {

enum class Dtype { float32, int32, boolean, int8 };
constexpr const char* DTYPE_NAMES[] = {"float32", "int32", "bool", "int8"};

inline std::string name_of(Dtype dtype) { return DTYPE_NAMES[static_cast<int>(dtype)]; }
inline std::size_t size_of(Dtype dtype) { return dtype == Dtype::float32 || dtype == Dtype::int32 ? 4 : 1; }

using Shape = std::vector<std::int64_t>;  // -1: a dynamic batch, on axis 0 only

inline std::string text_of(const Shape& shape) {
  std::string text = "(";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    text += (i ? ", " : "") + (shape[i] < 0 ? "batch" : std::to_string(shape[i]));
  }
  return text + (shape.size() == 1 ? ",)" : ")");
}

// A tensor of the contract. One of the carry enters a call as `name` and leaves it as `next`.
struct Spec {
  std::string name, next;
  Dtype dtype = Dtype::float32;
  Shape shape;
  float scale = 1;  // of int8, as zero_point: it stands for scale * (value - zero_point)
  std::int32_t zero_point = 0;
  double fill = 0;  // of the carry: every element before the first call

  std::size_t row_size() const {  // elements of one row
    std::size_t size = 1;
    for (std::size_t axis = 1; axis < shape.size(); ++axis) size *= static_cast<std::size_t>(shape[axis]);
    return size;
  }
  std::size_t row_bytes() const { return row_size() * size_of(dtype); }
};
using Specs = std::vector<Spec>;

inline const Spec* find_spec(const Specs& specs, const std::string& name) {
  const auto found = std::find_if(specs.begin(), specs.end(), [&](const Spec& s) { return s.name == name; });
  return found == specs.end() ? nullptr : &*found;
}

// A float64 as float32; beyond its range infinite.
inline float narrowed(double value) {
  constexpr double LARGEST = std::numeric_limits<float>::max();
  if (std::abs(value) <= LARGEST || !std::isfinite(value)) return static_cast<float>(value);
  return std::copysign(std::numeric_limits<float>::infinity(), value < 0 ? -1.0F : 1.0F);
}

// Generators of the symmetries of a task: permutations of the cells, and classes of token ids.
struct Symmetries {
  std::vector<std::vector<std::int64_t>> positions, tokens;
};

struct Contract {
  std::string text;  // the JSON it was read from
  std::string model_name, precision, halt_kind, granularity;
  std::int64_t batch = -1;  // -1: dynamic
  Specs inputs, carry, outputs;
  double threshold = 0;  // in logits
  std::int32_t max_steps = 1, passes = 1;
  std::optional<std::vector<std::string>> alphabet;  // at [id]: the characters of that token id
  std::int64_t num_puzzle_identifiers = 0;           // 0: none
  std::optional<Symmetries> symmetries;

  std::size_t cells() const { return find_spec(inputs, "inputs")->row_size(); }
  std::int64_t ids() const { return find_spec(outputs, "logits")->shape[2]; }
  bool is_loop() const { return granularity == "loop"; }
  bool is_dynamic() const { return batch < 0; }

  // Refuses a text with every rule that it breaks.
  static Contract parse(const std::string& text);
};

namespace contract_detail {

using Kind = Json::Kind;
constexpr double LARGEST = 1e300;
constexpr std::int64_t MOST_ELEMENTS = std::int64_t{1} << 28;  // of a row

// One object: reports keys that are missing or unknown, and values of another type.
class Fields {
 public:
  Fields(const Json* value, std::string path, std::vector<std::string> keys, Problems& problems,
         const std::vector<std::string>& optional = {})
      : value_(value), path_(std::move(path)), problems_(problems) {
    if (!value_ || !value_->is(Kind::object)) {
      if (value_) problems_.push_back((path_.empty() ? "the contract" : path_) + ": expected an object");
      value_ = nullptr;
      return;
    }
    for (const std::string& key : keys) {
      if (!value_->find(key)) problems_.push_back(at(key) + ": missing");
    }
    keys.insert(keys.end(), optional.begin(), optional.end());
    for (const auto& [key, unused] : value_->members) {
      if (std::find(keys.begin(), keys.end(), key) == keys.end()) {
        problems_.push_back(at(is_printable(key) ? key.substr(0, 60) : "?") + ": unknown key");
      }
    }
  }

  std::string at(const std::string& key) const { return path_.empty() ? key : path_ + "." + key; }
  const Json* get(const std::string& key) const { return value_ ? value_->find(key) : nullptr; }
  bool has(const std::string& key) const { return get(key) && !get(key)->is(Kind::null); }

  std::string text(const std::string& key) {
    const Json* found = typed(key, Kind::text, "a text");
    return found ? found->text : "";
  }
  std::string choice(const std::string& key, const std::vector<std::string>& allowed) {
    const Json* found = typed(key, Kind::text, "a text");
    if (!found || std::find(allowed.begin(), allowed.end(), found->text) != allowed.end()) {
      return found ? found->text : allowed[0];
    }
    std::string known;
    for (const std::string& one : allowed) known += (known.empty() ? "" : ", ") + one;
    problems_.push_back(at(key) + ": expected one of " + known);
    return allowed[0];
  }
  std::int64_t whole(const std::string& key, std::int64_t least, std::int64_t most) {
    const Json* found = typed(key, Kind::whole, "a whole number");
    if (!found) return least;
    if (found->whole >= least && found->whole <= most) return found->whole;
    problems_.push_back(at(key) + ": expected " + std::to_string(least) + " to " + std::to_string(most) +
                        ", got " + std::to_string(found->whole));
    return least;
  }
  double number(const std::string& key, double most = LARGEST) {
    const Json* found = get(key);
    if (found && !found->is_number()) typed(key, Kind::number, "a number");
    if (!found || !found->is_number()) return 0;
    if (std::abs(found->number) <= most) return found->number;
    problems_.push_back(at(key) + ": the number is out of range");
    return 0;
  }
  bool boolean(const std::string& key) {
    const Json* found = typed(key, Kind::boolean, "true or false");
    return found && found->boolean;
  }
  const std::vector<Json>& list(const std::string& key) {
    static const std::vector<Json> none;
    const Json* found = typed(key, Kind::list, "a list");
    return found ? found->items : none;
  }
  Problems& problems() { return problems_; }

 private:
  const Json* typed(const std::string& key, Kind kind, const std::string& expected) {
    const Json* found = get(key);
    if (found && !found->is(kind)) problems_.push_back(at(key) + ": expected " + expected);
    return found && found->is(kind) ? found : nullptr;
  }

  const Json* value_;
  std::string path_;
  Problems& problems_;
};

constexpr std::int64_t INT32_LEAST = -2147483648LL, INT32_MOST = 2147483647LL;

inline double read_fill(Fields& fields, Dtype dtype) {
  if (dtype == Dtype::boolean) return fields.boolean("fill") ? 1 : 0;
  if (dtype == Dtype::float32) return fields.number("fill", std::numeric_limits<float>::max());
  const bool is_int8 = dtype == Dtype::int8;
  return static_cast<double>(fields.whole("fill", is_int8 ? -128 : INT32_LEAST, is_int8 ? 127 : INT32_MOST));
}

inline Spec read_spec(const Json& value, const std::string& path, bool in_carry, std::int64_t batch,
                      Problems& problems) {
  const Json* dtype = value.find("dtype");
  std::vector<std::string> keys{"name", "dtype", "shape"};
  if (dtype && dtype->text == "int8") keys.insert(keys.end(), {"scale", "zero_point"});
  if (in_carry) keys.insert(keys.end(), {"next", "fill"});
  Fields fields(&value, path, keys, problems);
  Spec spec;
  spec.name = fields.text("name");
  const std::vector<std::string> known(std::begin(DTYPE_NAMES), std::end(DTYPE_NAMES));
  const std::string named = fields.choice("dtype", known);
  spec.dtype = static_cast<Dtype>(std::find(known.begin(), known.end(), named) - known.begin());
  std::int64_t elements = 1;
  const auto refuse = [&](bool wrong, const std::string& text) {
    if (wrong) problems.push_back(path + ": " + text);
  };
  for (const Json& size : fields.list("shape")) {
    const bool first = spec.shape.empty(), open = size.is(Kind::null);
    spec.shape.push_back(open ? -1 : size.whole);
    refuse(!open && !(size.is(Kind::whole) && size.whole >= 1), "expected sizes of 1 or more in shape");
    if (first) continue;
    refuse(open, "expected null for the batch only in shape");
    elements =
        size.whole < 1 || size.whole > MOST_ELEMENTS / elements ? MOST_ELEMENTS : elements * size.whole;
  }
  refuse(elements >= MOST_ELEMENTS, "the shape is too large");
  refuse(spec.shape.empty() || spec.shape[0] != batch, "axis 0 is not the batch of the contract");
  refuse(spec.name.empty(), "the name is empty");
  if (spec.dtype == Dtype::int8) {
    const double scale = fields.number("scale");
    spec.scale = narrowed(scale);
    refuse(!(scale > 0), "expected a scale above 0");
    spec.zero_point = static_cast<std::int32_t>(fields.whole("zero_point", -128, 127));
  }
  if (in_carry) {
    spec.next = fields.text("next");
    refuse(spec.next != spec.name + "_next", "next must be the name and _next");
    spec.fill = read_fill(fields, spec.dtype);
  }
  return spec;
}

inline Specs read_specs(Fields& fields, const std::string& key, std::int64_t batch) {
  Specs specs;
  for (const Json& value : fields.list(key)) {
    const std::string path = key + "[" + std::to_string(specs.size()) + "]";
    specs.push_back(read_spec(value, path, key == "carry", batch, fields.problems()));
  }
  return specs;
}

// A tensor that must be there; a letter for each axis: batch, cells, ids (V), width.
struct Wanted {
  std::string name;
  Dtype dtype;
  std::string axes;
};

inline const std::vector<Wanted> INPUTS{{"inputs", Dtype::int32, "BS"},
                                        {"puzzle_identifiers", Dtype::int32, "B"},
                                        {"puzzle_embedding", Dtype::float32, "BW"}};
inline const std::vector<Wanted> HEADS{{"logits", Dtype::float32, "BSV"},
                                       {"q_halt_logits", Dtype::float32, "B"},
                                       {"q_continue_logits", Dtype::float32, "B"}};
inline const std::vector<Wanted> STATE{{"steps", Dtype::int32, "B"}, {"halted", Dtype::boolean, "B"}};
inline const std::vector<Wanted> RESULTS{{"answers", Dtype::int32, "BS"}, {"steps", Dtype::int32, "B"}};

class Rules {
 public:
  Rules(const Contract& contract, Problems& problems) : contract_(contract), problems_(problems) {}

  void check() {
    const bool is_loop = contract_.is_loop(), is_block = contract_.granularity == "block";
    std::vector<Wanted> given, state = is_loop ? std::vector<Wanted>{} : STATE, outputs = HEADS;
    for (const Wanted& one : INPUTS) {
      if (one.name != "inputs" && !find_spec(contract_.inputs, one.name)) continue;
      given.push_back(one);
      if (!is_loop) state.push_back({"current_" + one.name, one.dtype, one.axes});
    }
    if (is_block) state.push_back({"passes", Dtype::int32, "B"});
    if (is_loop) outputs.insert(outputs.end(), RESULTS.begin(), RESULTS.end());
    for (const Spec& spec : contract_.inputs)
      refuse(!named(INPUTS, spec.name), spec.name + ": unknown input");
    expect("inputs", contract_.inputs, given);
    expect("carry", contract_.carry, state);
    expect("outputs", contract_.outputs, outputs);
    refuse(is_loop && !contract_.carry.empty(), "carry: a loop has none");
    refuse(!is_block && contract_.passes != 1, "passes: expected 1, or more in a block");
    for (const Spec& spec : contract_.carry) {
      refuse(spec.name == "halted" && spec.fill != 1, "halted: fill must be true");
      refuse(spec.name == "passes" && is_block && spec.fill != 0, "passes: fill must be 0");
    }
    names();
    if (contract_.alphabet) alphabet();
  }

  void refuse(bool wrong, const std::string& text) {
    if (wrong) problems_.push_back(text);
  }

 private:
  static bool named(const std::vector<Wanted>& wanted, const std::string& name) {
    return std::any_of(wanted.begin(), wanted.end(), [&](const Wanted& one) { return one.name == name; });
  }

  std::int64_t size(const Specs& specs, const std::string& name, std::size_t axis) const {
    const Spec* spec = find_spec(specs, name);
    return spec && spec->shape.size() > axis ? spec->shape[axis] : 0;
  }

  void expect(const std::string& role, const Specs& specs, const std::vector<Wanted>& wanted) {
    for (const auto& [name, dtype, axes] : wanted) {
      const Spec* spec = find_spec(specs, name);
      refuse(!spec, name + ": missing in " + role);
      if (!spec) continue;
      Shape shape;
      for (const char axis : axes) {
        shape.push_back(axis == 'B'   ? contract_.batch
                        : axis == 'S' ? size(contract_.inputs, "inputs", 1)
                        : axis == 'V' ? size(contract_.outputs, "logits", 2)
                                      : size(contract_.inputs, "puzzle_embedding", 1));
      }
      const bool other = role != "inputs" && ((dtype == Dtype::float32 && spec->dtype == Dtype::int8) ||
                                              (dtype == Dtype::boolean && spec->dtype == Dtype::int32));
      refuse((spec->dtype != dtype && !other) || spec->shape != shape,
             name + ": expected " + name_of(dtype) + " " + text_of(shape) + ", got " + name_of(spec->dtype) +
                 " " + text_of(spec->shape));
    }
  }

  void names() {
    std::set<std::string> known;
    for (const Specs* specs : {&contract_.inputs, &contract_.carry, &contract_.outputs}) {
      for (const Spec& spec : *specs) {
        refuse(!known.insert(spec.name).second, spec.name + ": several tensors have this name");
        refuse(!spec.next.empty() && !known.insert(spec.next).second,
               spec.next + ": several tensors have this name");
        refuse(!is_printable(spec.name), "a name of a tensor has characters that cannot be printed");
      }
    }
  }

  void alphabet() {
    refuse(static_cast<std::int64_t>(contract_.alphabet->size()) != size(contract_.outputs, "logits", 2),
           "alphabet: expected one entry a token id");
    std::set<std::string> known;
    for (const std::string& entry : *contract_.alphabet) {
      refuse(!is_printable(entry), "alphabet: a character cannot be printed");
      for (const std::string& sign : characters(entry)) {
        refuse(!known.insert(sign).second, "alphabet: a character is in two entries");
      }
    }
  }

  const Contract& contract_;
  Problems& problems_;
};

inline bool is_sha256(const std::string& text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

inline void read_identifiers(Fields& fields, Contract& contract) {
  Problems& problems = fields.problems();
  const bool ids = find_spec(contract.inputs, "puzzle_identifiers"),
             rows = find_spec(contract.inputs, "puzzle_embedding");
  if (fields.has("num_puzzle_identifiers")) {
    contract.num_puzzle_identifiers = fields.whole("num_puzzle_identifiers", 1, INT32_MOST);
  }
  const std::string table = fields.has("puzzle_table_sha256") ? fields.text("puzzle_table_sha256") : "";
  if (ids && rows)
    problems.push_back("puzzle_embedding: expected this input or puzzle_identifiers, got both");
  if ((ids || rows) != (contract.num_puzzle_identifiers > 0)) {
    problems.push_back(
        "num_puzzle_identifiers: expected a number with the input of puzzles' identity, else null");
  }
  if (rows ? !is_sha256(table) : fields.has("puzzle_table_sha256")) {
    problems.push_back(
        "puzzle_table_sha256: expected 64 hexadecimal digits with puzzle_embedding, else null");
  }
}

inline std::vector<std::vector<std::int64_t>> read_wholes(Fields& fields, const std::string& key) {
  std::vector<std::vector<std::int64_t>> lists;
  for (const Json& list : fields.list(key)) {
    bool right = list.is(Kind::list);
    lists.emplace_back();
    for (const Json& item : list.items) {
      right = right && item.is(Kind::whole);
      lists.back().push_back(item.whole);
    }
    if (!right) fields.problems().push_back(fields.at(key) + ": expected lists of whole numbers");
  }
  return lists;
}

// Whether they are all of 0 to most - 1, and none is there twice.
inline bool all_differ(const std::vector<std::int64_t>& numbers, std::int64_t most) {
  const std::set<std::int64_t> known(numbers.begin(), numbers.end());
  return known.size() == numbers.size() && (known.empty() || (*known.begin() >= 0 && *known.rbegin() < most));
}

inline void read_symmetries(Fields& fields, Contract& contract) {
  if (!fields.has("symmetries")) return;
  Problems& problems = fields.problems();
  Fields both(fields.get("symmetries"), "symmetries", {"positions", "tokens"}, problems);
  const auto size = [](const Specs& specs, const std::string& name, std::size_t axis) {
    const Spec* spec = find_spec(specs, name);
    return spec && spec->shape.size() > axis ? spec->shape[axis] : 0;
  };
  const std::int64_t cells = size(contract.inputs, "inputs", 1), ids = size(contract.outputs, "logits", 2);
  contract.symmetries = {read_wholes(both, "positions"), read_wholes(both, "tokens")};
  for (const auto& order : contract.symmetries->positions) {
    if (static_cast<std::int64_t>(order.size()) == cells && all_differ(order, cells)) continue;
    problems.emplace_back("symmetries.positions: expected permutations of the cells");
  }
  std::vector<std::int64_t> every;
  for (const auto& list : contract.symmetries->tokens) {
    if (list.size() < 2) problems.emplace_back("symmetries.tokens: expected classes of 2 or more token ids");
    every.insert(every.end(), list.begin(), list.end());
  }
  if (!all_differ(every, ids)) problems.emplace_back("symmetries.tokens: expected each token id once");
}

// How confident an answer is: checked, and not used.
inline void read_confidence(Fields& fields, const Contract& contract) {
  if (!fields.has("confidence")) return;
  Problems& problems = fields.problems();
  Fields rule(fields.get("confidence"), "confidence",
              {"bias", "score", "moved", "agreement", "puzzles", "tries"}, problems);
  for (const std::string key : {"bias", "score", "agreement"}) rule.number(key);
  for (const std::string key : {"puzzles", "tries"}) rule.whole(key, 1, INT32_MOST);
  if (rule.number("moved") != 0 && contract.is_loop()) {
    problems.emplace_back("confidence.moved: expected 0 in a loop");
  }
}

// Free texts for people: of the right type, and without what a terminal would act on.
inline void read_texts(Fields& fields, Contract& contract) {
  contract.model_name = fields.text("model_name");
  contract.precision = fields.text("precision");
  const std::vector<std::string> keys{"tool", "weights_sha256", "config_digest"};
  Fields made(fields.get("made_by"), "made_by", {"tool", "versions", "weights_sha256", "config_digest"},
              fields.problems());
  std::string all = contract.model_name + contract.precision;
  for (const std::string& key : keys) all += made.text(key);
  const Json* versions = made.get("versions");
  if (versions && !versions->is(Kind::object))
    fields.problems().push_back("made_by.versions: expected an object");
  if (versions) {
    for (const auto& [name, version] : versions->members) {
      if (!version.is(Kind::text)) fields.problems().push_back("made_by.versions: expected texts only");
      all += name + version.text;
    }
  }
  if (!is_printable(all)) fields.problems().push_back("a text has characters that cannot be printed");
}

}  // namespace contract_detail

inline Contract Contract::parse(const std::string& text) {
  using namespace contract_detail;
  if (text.size() > (1U << 20)) throw Error("The step contract has more than 1048576 bytes.");
  const Json value = JsonReader::parse(text, "The step contract");
  const Json* version = value.find("schema_version");
  const bool is_whole = version && version->is(Kind::whole);
  if (is_whole && version->whole > 2) {
    throw Error("The step contract has schema_version " + std::to_string(version->whole) +
                "; upgrade this driver.");
  }
  Problems problems;
  if (version && (!is_whole || version->whole < 1)) problems.emplace_back("schema_version: expected 1 or 2");
  Fields fields(&value, "",
                {"schema_version", "model_name", "precision", "batch", "inputs", "carry", "outputs", "halt",
                 "max_steps", "made_by", "granularity", "passes", "alphabet", "num_puzzle_identifiers"},
                problems, {"puzzle_table_sha256", "confidence", "symmetries"});
  Contract contract;
  contract.text = text;
  read_texts(fields, contract);
  if (fields.has("batch")) contract.batch = fields.whole("batch", 1, INT32_MOST);
  contract.granularity = fields.choice("granularity", {"step", "loop", "block"});
  contract.max_steps = static_cast<std::int32_t>(fields.whole("max_steps", 1, INT32_MOST));
  contract.passes = static_cast<std::int32_t>(fields.whole("passes", 1, INT32_MOST));
  contract.inputs = read_specs(fields, "inputs", contract.batch);
  contract.carry = read_specs(fields, "carry", contract.batch);
  contract.outputs = read_specs(fields, "outputs", contract.batch);
  Fields halt(fields.get("halt"), "halt", {"kind", "threshold"}, problems,
              {"trained", "settled"});
  contract.halt_kind = halt.choice("kind", {"q_halt", "q_halt_minus_q_continue"});
  contract.threshold = halt.number("threshold");
  if (halt.has("trained")) {
    halt.number("trained");
    if (contract.is_loop()) problems.emplace_back("halt.trained: expected null in a loop");
  }
  if (halt.has("settled")) {
    if (!(halt.number("settled") > 0)) problems.emplace_back("halt.settled: expected a number above 0");
    if (contract.is_loop()) problems.emplace_back("halt.settled: expected null in a loop");
  }
  if (fields.has("alphabet")) {
    contract.alphabet.emplace();
    for (const Json& entry : fields.list("alphabet")) {
      if (!entry.is(Kind::text)) problems.emplace_back("alphabet: expected texts only");
      contract.alphabet->push_back(entry.text);
    }
  }
  read_identifiers(fields, contract);
  read_symmetries(fields, contract);
  read_confidence(fields, contract);
  if (problems.empty()) Rules(contract, problems).check();
  refuse_if(problems, "The step contract is not valid:");
  return contract;
}

}  // namespace trm
