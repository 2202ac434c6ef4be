// The error of this library, and text for its messages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace trm {

// A known failure; the message is for a person. `exit_code` is one of docs/exit-codes.md.
struct Error : std::runtime_error {
  explicit Error(const std::string& message, int code = 4) : std::runtime_error(message), exit_code(code) {}
  int exit_code;
};

constexpr int USAGE = 2, MISSING = 3, REJECTED = 4, NONFINITE = 6, CHANGED_GIVENS = 7, OUT_OF_TIME = 8;

using Problems = std::vector<std::string>;

// One error with all problems, the first few of them in words.
inline void refuse_if(const Problems& problems, const std::string& summary, std::size_t listed = 5) {
  if (problems.empty()) return;
  std::string text = summary;
  for (std::size_t i = 0; i < problems.size() && i < listed; ++i) text += (i ? "; " : " ") + problems[i];
  if (problems.size() > listed) text += "; ... and " + std::to_string(problems.size() - listed) + " more";
  throw Error(text + ".");
}

// The code point at `at`, which moves behind it; -1 if the bytes are no UTF-8.
inline std::int32_t code_point(std::string_view text, std::size_t& at) {
  const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U; };
  const unsigned first = byte(at);
  if (first < 0x80) return static_cast<std::int32_t>(text[at++]);
  const unsigned more = first >= 0xF0 ? 3 : first >= 0xE0 ? 2 : 1;
  if (first < 0xC2 || first > 0xF4) return -1;
  std::uint32_t value = first & (0x3FU >> more);
  for (unsigned i = 1; i <= more; ++i) {
    const unsigned next = byte(at + i);
    if ((next & 0xC0) != 0x80) return -1;
    value = value << 6 | (next & 0x3F);
  }
  const std::uint32_t least[] = {0, 0x80, 0x800, 0x10000};
  if (value < least[more] || value > 0x10FFFF || (value >= 0xD800 && value < 0xE000)) return -1;
  at += more + 1;
  return static_cast<std::int32_t>(value);
}

inline bool is_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    if (code_point(text, at) < 0) return false;
  }
  return true;
}

// The characters of a valid UTF-8 text, each as a text.
inline std::vector<std::string> characters(std::string_view text) {
  std::vector<std::string> found;
  for (std::size_t at = 0, from = 0; at < text.size(); from = at) {
    if (code_point(text, at) < 0) ++at;
    found.emplace_back(text.substr(from, at - from));
  }
  return found;
}

// Whether a terminal prints all of it as it is: no controls, formats, separators but the space, and
// no private or unassigned planes. Unassigned characters between others are not known here.
inline bool is_printable(std::string_view text) {
  constexpr std::int32_t RANGES[][2] = {
      {0, 0x1F},        {0x7F, 0xA0},     {0xAD, 0xAD},       {0x600, 0x605},   {0x61C, 0x61C},
      {0x6DD, 0x6DD},   {0x70F, 0x70F},   {0x1680, 0x1680},   {0x180E, 0x180E}, {0x2000, 0x200F},
      {0x2028, 0x202F}, {0x205F, 0x206F}, {0x3000, 0x3000},   {0xD800, 0xF8FF}, {0xFEFF, 0xFEFF},
      {0xFFF0, 0xFFFB}, {0xFFFE, 0xFFFF}, {0x40000, 0x10FFFF}};
  for (std::size_t at = 0; at < text.size();) {
    const std::int32_t sign = code_point(text, at);
    if (sign < 0) return false;
    for (const auto& range : RANGES) {
      if (sign >= range[0] && sign <= range[1]) return false;
    }
  }
  return true;
}

// A text in JSON; bytes that are no UTF-8 become `?`.
inline std::string json_text(std::string_view text) {
  constexpr char HEX[] = "0123456789abcdef";
  std::string out = "\"";
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t from = at;
    const std::int32_t sign = code_point(text, at);
    if (sign < 0) {
      out += '?';
      ++at;
      continue;
    }
    if (sign == '"' || sign == '\\') out += '\\';
    if (sign < 0x20 || sign == 0x7F) {
      out += "\\u00";
      out += HEX[sign >> 4];
      out += HEX[sign & 15];
    } else out += text.substr(from, at - from);
  }
  return out + '"';
}

// `1 puzzle`, `2 puzzles`.
inline std::string counted(std::size_t count, const std::string& noun) {
  return std::to_string(count) + " " + noun + (count == 1 ? "" : "s");
}

}  // namespace trm
