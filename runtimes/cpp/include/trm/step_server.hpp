// A step server (docs/contract.md): reads requests from a stream, and writes the replies.
#pragma once

#include <cmath>
#include <cstdio>
#include <limits>
#include <optional>
#include <string>

#include "json.hpp"
#include "loop.hpp"

namespace trm {

// The keys of a request, each of its type. One that is missing, or null where it is nullable, is none.
class Keys {
 public:
  explicit Keys(const Json& head) : head_(head) {}

  std::optional<std::int64_t> whole(const std::string& key) const {
    const Json* found = find(key, false);
    refuse(found && !found->is(Json::Kind::whole), key, "a whole number");
    return found ? std::optional(found->whole) : std::nullopt;
  }
  std::optional<double> number(const std::string& key, const std::string& expected,
                               bool nullable = false) const {
    const Json* found = find(key, nullable);
    refuse(found && !found->is_number(), key, expected);
    return found ? std::optional(found->number) : std::nullopt;
  }
  std::optional<std::string> text(const std::string& key) const {
    const Json* found = find(key, false);
    refuse(found && !found->is(Json::Kind::text), key, "a text");
    return found ? std::optional(found->text) : std::nullopt;
  }
  // The threshold of a halt rule, infinite for all steps; none for that of the contract.
  std::optional<double> threshold() const {
    const Json* found = find("halt", false);
    if (!found || found->text == "learned") return std::nullopt;
    if (found->text == "max_steps") return std::numeric_limits<double>::infinity();
    refuse(!found->is_number() || !std::isfinite(found->number), "halt",
           "learned, max_steps or a finite number");
    return found->number;
  }

 private:
  const Json* find(const std::string& key, bool nullable) const {
    const Json* found = head_.find(key);
    return found && nullable && found->is(Json::Kind::null) ? nullptr : found;
  }
  static void refuse(bool wrong, const std::string& key, const std::string& expected) {
    if (wrong) throw Error(key + ": expected " + expected + ".", USAGE);
  }

  const Json& head_;
};

class StepServer {
 public:
  explicit StepServer(std::FILE* output) : output_(output) {}

  // The first message, or the only one.
  void refuse(const Error& error) const {
    send("\"error\": " + json_text(std::string(error.what()).substr(0, 2000)) +
             ", \"exit_code\": " + std::to_string(error.exit_code),
         "");
  }

  // Answers until the input ends; an Error for what is no message, which it does not send.
  void serve(Runner& runner, const std::string& driver, std::FILE* source) const {
    send("\"protocol\": \"trm-step-server\", \"version\": 1, \"driver\": " + json_text(driver) +
             ", \"engine\": " + json_text(runner.engine()) + ", \"tries\": " +
             std::to_string(MOST_TRIES) + ", \"choose\": [\"score\", \"first\", \"vote\"]",
         runner.contract().text);
    std::string line, data;
    while (read_line(source, line)) {
      const Json head = JsonReader::parse(line, "A message");
      read_data(head, source, data);
      std::string reply, bytes;
      try {
        bytes = answer(runner, head, data);
        reply = "\"reply\": " + json_text(head.find("request")->text) +
                ", \"rows\": " + std::to_string(head.find("rows")->whole);
      } catch (const Error& error) {
        refuse(error);
        continue;
      }
      send(reply, bytes);
    }
  }

 private:
  static constexpr std::size_t MAX_LINE = 1 << 16;
  static constexpr std::int64_t MAX_BYTES = std::int64_t{1} << 30;

  void send(const std::string& head, const std::string& data) const {
    const std::string line = "{" + head + ", \"bytes\": " + std::to_string(data.size()) + "}\n";
    const bool written = std::fwrite(line.data(), 1, line.size(), output_) == line.size() &&
                         std::fwrite(data.data(), 1, data.size(), output_) == data.size();
    if (std::fflush(output_) != 0 || !written) throw Error("Standard output cannot be written.", 1);
  }

  static bool read_line(std::FILE* source, std::string& line) {
    line.clear();
    for (int byte; (byte = std::getc(source)) != '\n';) {
      if (byte == EOF && line.empty()) return false;
      if (byte == EOF) throw Error("The input ends in the middle of a line.");
      if (line.size() + 2 > MAX_LINE) throw Error("A line is longer than 65536 bytes.");
      line += static_cast<char>(byte);
    }
    return true;
  }

  // In parts, so that a number alone does not take memory.
  static void read_data(const Json& head, std::FILE* source, std::string& data) {
    const Json* bytes = head.find("bytes");
    if (!bytes || !bytes->is(Json::Kind::whole) || bytes->whole < 0 || bytes->whole > MAX_BYTES) {
      throw Error("A message has no \"bytes\" from 0 to 1073741824.");
    }
    data.clear();
    for (std::size_t left = static_cast<std::size_t>(bytes->whole); left > 0;) {
      const std::size_t from = data.size(), part = std::min<std::size_t>(left, 1 << 20);
      data.resize(from + part);
      if (std::fread(data.data() + from, 1, part, source) != part)
        throw Error("The input ends in the middle of a message.");
      left -= part;
    }
  }

  static std::string answer(Runner& runner, const Json& head, const std::string& data) {
    const Json *request = head.find("request"), *rows = head.find("rows");
    const bool is_step = request && request->text == "step";
    if (!is_step && !(request && request->text == "solve"))
      throw Error("Expected the request step or solve.");
    if (!rows || !rows->is(Json::Kind::whole) || rows->whole < 1 || rows->whole > MAX_BYTES)
      throw Error("rows: expected 1 or more.");
    const std::size_t count = static_cast<std::size_t>(rows->whole);
    return is_step ? answer_step(runner, count, data) : answer_solve(runner, head, count, data);
  }

  static std::string answer_step(Runner& runner, std::size_t rows, const std::string& data) {
    const Contract& contract = runner.contract();
    if (!contract.is_dynamic() && static_cast<std::int64_t>(rows) != contract.batch)
      throw Error("rows: expected the fixed batch of the model.");
    check_limits(contract, rows, 1);
    std::size_t at = 0;
    const Tensors inputs = unpacked(contract.inputs, rows, data, at),
                  carry = unpacked(contract.carry, rows, data, at);
    refuse_rest(data, at);
    const StepOutput found = runner.checked_call(inputs, carry);
    return packed(contract.outputs, found.outputs) + packed(contract.carry, found.carry);
  }

  static std::string answer_solve(Runner& runner, const Json& head, std::size_t rows,
                                  const std::string& data) {
    std::size_t at = 0;
    const Tensors puzzles = unpacked(runner.contract().inputs, rows, data, at);
    refuse_rest(data, at);
    const Options options = options_of(head);
    const Solution found = solve(runner, puzzles, options);
    const auto bytes = [](const auto& list) {
      return std::string(reinterpret_cast<const char*>(list.data()), list.size() * sizeof(list[0]));
    };
    const std::string common = bytes(found.answers) + bytes(found.steps) + bytes(found.reasons);
    if (options.tries == 1) return common;
    std::vector<std::int32_t> once(rows), none(rows);  // where the model has one guise
    for (std::size_t row = 0; row < rows; ++row) once[row] = found.steps[row] > 0;
    if (found.tries.empty()) return common + bytes(once) + bytes(found.steps) + bytes(none);
    return common + bytes(found.tries) + bytes(found.total_steps) + bytes(found.chosen);
  }

  static Options options_of(const Json& head) {
    const Keys given(head);
    Options options;
    options.slots = given.whole("slots");
    options.max_steps = given.whole("max_steps");
    options.deadline = given.number("deadline", "seconds, 0 or more", true);
    options.threshold = given.threshold();
    options.tries = given.whole("tries").value_or(options.tries);
    options.vary = given.text("vary").value_or(options.vary);
    options.choose = given.text("choose").value_or(options.choose);
    options.seed = given.whole("seed").value_or(options.seed);
    options.sigma = given.number("sigma", "a number").value_or(options.sigma);
    return options;
  }

  static Tensors unpacked(const Specs& specs, std::size_t rows, const std::string& data, std::size_t& at) {
    Tensors tensors;
    for (const Spec& spec : specs) {
      const std::size_t left = data.size() - at;
      if (spec.row_bytes() > left / rows)
        throw Error("The data are shorter than the tensors of the contract.");
      Tensor& tensor = tensors[spec.name] = {spec.dtype, shape_of(spec, rows), {}};
      const char* from = data.data() + at;
      tensor.data.assign(from, from + rows * spec.row_bytes());
      at += tensor.data.size();
      const bool is_bool = spec.dtype == Dtype::boolean;
      if (is_bool && std::any_of(tensor.data.begin(), tensor.data.end(),
                                 [](char byte) { return byte != 0 && byte != 1; })) {
        throw Error(spec.name + ": expected 0 or 1 in a bool.");
      }
    }
    return tensors;
  }

  static void refuse_rest(const std::string& data, std::size_t at) {
    if (at != data.size())
      throw Error("Expected " + std::to_string(at) + " bytes, got " + std::to_string(data.size()) + ".");
  }

  static std::string packed(const Specs& specs, const Tensors& tensors) {
    std::string data;
    for (const Spec& spec : specs)
      data.append(tensors.at(spec.name).data.data(), tensors.at(spec.name).data.size());
    return data;
  }

  std::FILE* output_;
};

}  // namespace trm
