// JSON as docs/contract.md wants it (RFC 8259): UTF-8, no key twice, no half of a surrogate pair, and
// a memory of which numbers are written without fraction and exponent.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <locale>
#include <sstream>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "error.hpp"

namespace trm {

struct Json {
  enum class Kind { null, boolean, whole, number, text, list, object };
  Kind kind = Kind::null;
  bool boolean = false;
  std::int64_t whole = 0;  // of a whole number that fits
  double number = 0;       // of any number; infinite if it is too large
  std::string text;
  std::vector<Json> items;
  std::vector<std::pair<std::string, Json>> members;

  bool is(Kind other) const { return kind == other; }
  bool is_number() const { return is(Kind::number) || is(Kind::whole); }
  const Json* find(std::string_view key) const {
    for (const auto& [name, value] : members) {
      if (name == key) return &value;
    }
    return nullptr;
  }
};

class JsonReader {
 public:
  // The value of a text; an Error that begins with `what` if it is no JSON.
  static Json parse(std::string_view text, const std::string& what) {
    JsonReader reader(text, what);
    if (!is_utf8(text)) reader.refuse("it is not UTF-8");
    Json value = reader.value(0);
    reader.blanks();
    if (reader.at_ != text.size()) reader.refuse("there is more behind it");
    return value;
  }

 private:
  JsonReader(std::string_view text, const std::string& what) : text_(text), what_(what) {}

  [[noreturn]] void refuse(const std::string& why) const {
    throw Error(what_ + " is not valid JSON: " + why + " (byte " + std::to_string(at_) + ").");
  }

  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool take(char wanted) {
    if (peek() != wanted || at_ >= text_.size()) return false;
    ++at_;
    return true;
  }
  void blanks() {
    while (at_ < text_.size() && std::string_view(" \t\r\n").find(text_[at_]) != std::string_view::npos)
      ++at_;
  }
  bool word(std::string_view wanted) {
    if (text_.substr(at_, wanted.size()) != wanted) return false;
    at_ += wanted.size();
    return true;
  }

  Json value(int depth) {
    if (depth > 100) refuse("it is nested too deeply");
    blanks();
    Json found;
    if (take('{')) return object(depth);
    if (take('[')) return list(depth);
    if (peek() == '"') {
      found.kind = Json::Kind::text;
      found.text = text();
    } else if (word("true") || word("false")) {
      found.kind = Json::Kind::boolean;
      found.boolean = text_[at_ - 2] == 'u';
    } else if (!word("null")) {
      return number();
    }
    return found;
  }

  Json object(int depth) {
    Json found;
    found.kind = Json::Kind::object;
    std::unordered_set<std::string> known;
    blanks();
    for (bool first = true; !take('}'); first = false) {
      if (!first && !take(',')) refuse("expected , or }");
      blanks();
      std::string key = text();
      if (!known.insert(key).second) refuse("the key " + json_text(key) + " appears twice in one object");
      blanks();
      if (!take(':')) refuse("expected :");
      found.members.emplace_back(std::move(key), value(depth + 1));
      blanks();
    }
    return found;
  }

  Json list(int depth) {
    Json found;
    found.kind = Json::Kind::list;
    blanks();
    for (bool first = true; !take(']'); first = false) {
      if (!first && !take(',')) refuse("expected , or ]");
      found.items.push_back(value(depth + 1));
      blanks();
    }
    return found;
  }

  Json number() {
    const std::size_t from = at_;
    bool is_whole = true;
    take('-');
    if (!take('0') && !digits()) refuse("expected a value");
    if (take('.')) {
      is_whole = false;
      if (!digits()) refuse("expected digits behind the point");
    }
    if (take('e') || take('E')) {
      is_whole = false;
      if (!take('+')) take('-');
      if (!digits()) refuse("expected digits in the exponent");
    }
    const std::string written(text_.substr(from, at_ - from));
    std::istringstream source(written);
    source.imbue(std::locale::classic());
    Json found;
    source >> found.number;
    if (source.fail()) found.number = std::numeric_limits<double>::infinity();
    const bool fits = is_whole && std::abs(found.number) < 9007199254740992.0;
    found.kind = fits ? Json::Kind::whole : Json::Kind::number;
    if (fits) found.whole = static_cast<std::int64_t>(found.number);
    return found;
  }

  bool digits() {
    const std::size_t from = at_;
    while (peek() >= '0' && peek() <= '9') ++at_;
    return at_ > from;
  }

  std::string text() {
    if (!take('"')) refuse("expected a text");
    std::string found;
    while (!take('"')) {
      if (at_ >= text_.size()) refuse("a text without an end");
      const char sign = text_[at_++];
      if (static_cast<unsigned char>(sign) < 0x20) refuse("a text with a control character");
      if (sign != '\\') found += sign;
      else escape(found);
    }
    return found;
  }

  void escape(std::string& found) {
    constexpr std::string_view SIGNS = "\"\\/bfnrt", MEANING = "\"\\/\b\f\n\r\t";
    const char sign = peek();
    ++at_;
    if (sign != 'u') {
      const std::size_t index = SIGNS.find(sign);
      if (at_ > text_.size() || index == std::string_view::npos) refuse("an unknown escape");
      found += MEANING[index];
      return;
    }
    std::uint32_t value = hexadecimal();
    if (value >= 0xD800 && value < 0xDC00 && word("\\u")) {
      const std::uint32_t low = hexadecimal();
      if (low < 0xDC00 || low > 0xDFFF) refuse("it has half of a surrogate pair");
      value = 0x10000 + ((value - 0xD800) << 10) + (low - 0xDC00);
    }
    if (value >= 0xD800 && value < 0xE000) refuse("it has half of a surrogate pair");
    const auto add = [&](std::uint32_t byte) {
      found += static_cast<char>(static_cast<unsigned char>(byte));
    };
    if (value < 0x80) return add(value);
    if (value >= 0x10000) {
      add(0xF0 | value >> 18);
      add(0x80 | (value >> 12 & 0x3F));
    } else if (value >= 0x800) add(0xE0 | value >> 12);
    if (value >= 0x800) add(0x80 | (value >> 6 & 0x3F));
    else add(0xC0 | value >> 6);
    add(0x80 | (value & 0x3F));
  }

  std::uint32_t hexadecimal() {
    std::uint32_t value = 0;
    for (int i = 0; i < 4; ++i) {
      const char digit = peek();
      const int found = digit >= '0' && digit <= '9'   ? digit - '0'
                        : digit >= 'a' && digit <= 'f' ? digit - 'a' + 10
                        : digit >= 'A' && digit <= 'F' ? digit - 'A' + 10
                                                       : -1;
      if (found < 0) refuse("expected four hexadecimal digits");
      value = value << 4 | static_cast<std::uint32_t>(found);
      ++at_;
    }
    return value;
  }

  std::string_view text_;
  std::string what_;
  std::size_t at_ = 0;
};

}  // namespace trm
