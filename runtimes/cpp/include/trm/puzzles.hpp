// Puzzles in a text: one a line, or one over the lines of a grid, in the alphabet of the contract.
//
// Between the cells there may be spaces, commas, bars and the like, where these are no cells. In a line
// with several boards the first one is the puzzle. Without an alphabet a line is token ids.
#pragma once

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "tensors.hpp"

namespace trm {

class PuzzleReader {
 public:
  explicit PuzzleReader(const Contract& contract) : contract_(contract), size_(contract.cells()) {
    while (side_ * side_ < size_) ++side_;
    if (side_ * side_ > size_) side_ = size_;  // no square: a puzzle is a line
    for (std::size_t id = 0; contract.alphabet && id < contract.alphabet->size(); ++id) {
      for (const std::string& sign : characters((*contract.alphabet)[id]))
        ids_[sign] = static_cast<std::int32_t>(id);
    }
    for (const std::string& sign : characters(" \t,;:=[](){}\"'|!+-*─│┌┐└┘├┤┬┴┼━┃═║")) between_.insert(sign);
  }

  // Every puzzle, int32 (N, S); refuses lines that fit no board, by the name of the file and their number.
  Tensor read(std::string text, const std::string& file = "the text") const {
    if (text.rfind("\xEF\xBB\xBF", 0) == 0) text.erase(0, 3);
    if (!is_utf8(text)) throw Error(file + ": not UTF-8 text.");
    std::vector<std::int32_t> tokens, rows;
    std::istringstream lines(text);
    std::string line;
    for (std::size_t number = 1; std::getline(lines, line); ++number) {
      if (!line.empty() && line.back() == '\r') line.pop_back();
      const Signs cells = contract_.alphabet ? cells_of(line) : numbers_of(line);
      if (cells.empty()) continue;
      const bool is_row = cells.size() == side_ || (rows.empty() && cells.size() == size_);
      if (!is_row) {
        throw Error(file + ": line " + std::to_string(number) + ": expected " + counted(size_, "cell") +
                    ", or " + std::to_string(side_) + " of a row, got " + std::to_string(cells.size()) + ".");
      }
      for (const std::string& cell : cells)
        rows.push_back(id_of(cell, file + ": line " + std::to_string(number)));
      if (rows.size() < size_) continue;
      tokens.insert(tokens.end(), rows.begin(), rows.end());
      rows.clear();
    }
    if (!rows.empty())
      throw Error(file + ": the last grid has " + std::to_string(rows.size()) + " of " +
                  counted(size_, "cell") + ".");
    if (tokens.empty()) throw Error(file + ": there are no puzzles.");
    Tensor found{Dtype::int32,
                 {static_cast<std::int64_t>(tokens.size() / size_), static_cast<std::int64_t>(size_)},
                 {}};
    const char* bytes = reinterpret_cast<const char*>(tokens.data());
    found.data.assign(bytes, bytes + tokens.size() * sizeof(tokens[0]));
    return found;
  }

 private:
  using Signs = std::vector<std::string>;

  std::int32_t id_of(const std::string& cell, const std::string& place) const {
    const auto refuse = [&](const std::string& known) {
      return Error(place + ": " + json_text(cell) + " is not one of " + known + ".");
    };
    if (contract_.alphabet) {
      const auto found = ids_.find(cell);
      std::string known;
      for (const auto& [sign, id] : ids_) known += sign;
      if (found == ids_.end()) throw refuse(known);
      return found->second;
    }
    const bool is_number = cell.size() < 10 && cell.find_first_not_of("0123456789") == std::string::npos;
    if (!is_number || std::stol(cell) >= contract_.ids())
      throw refuse("0 to " + std::to_string(contract_.ids() - 1));
    return static_cast<std::int32_t>(std::stol(cell));
  }

  static Signs split(const std::string& line) {
    Signs fields;
    for (std::size_t from = 0; from <= line.size();) {
      const std::size_t to = std::min(line.find_first_of(",;\t ", from), line.size());
      if (to > from) fields.push_back(line.substr(from, to - from));
      from = to + 1;
    }
    return fields;
  }

  static Signs numbers_of(const std::string& line) { return line.rfind('#', 0) == 0 ? Signs{} : split(line); }

  Signs bare(const std::string& text) const {
    Signs found;
    for (const std::string& sign : characters(text)) {
      if (ids_.count(sign) || !between_.count(sign)) found.push_back(sign);
    }
    return found;
  }

  bool fits(const Signs& signs) const { return signs.size() == side_ || signs.size() == size_; }

  Signs cells_of(const std::string& line) const {
    const std::size_t from = line.find_first_not_of(" \t");
    if (from == std::string::npos && !(ids_.count(" ") && fits(characters(line)))) return {};
    if (from != std::string::npos && line[from] == '#' && !ids_.count("#")) return {};  // a comment
    if (fits(characters(line)) && ids_.count(" ")) return characters(line);
    const std::string trimmed = line.substr(from, line.find_last_not_of(" \t") + 1 - from);
    if (ids_.count(" ")) return fits(characters(trimmed)) ? characters(trimmed) : bare(trimmed);
    const Signs whole = bare(line);
    if (fits(whole)) return whole;
    for (const std::string& field : split(line)) {
      const Signs cells = bare(field);
      if (cells.size() == size_) return cells;
    }
    return whole;
  }

  const Contract& contract_;
  std::size_t size_, side_ = 1;
  std::map<std::string, std::int32_t> ids_;  // of each character
  std::set<std::string> between_;
};

// Whether each token id is a blank cell, which is to be filled in; empty if no id is.
inline std::vector<bool> blanks(const Contract& contract) {
  std::vector<bool> found;
  for (const std::string& entry : contract.alphabet.value_or(std::vector<std::string>{})) {
    found.push_back(entry.find_first_of("._ ") != std::string::npos);
  }
  return std::find(found.begin(), found.end(), true) == found.end() ? std::vector<bool>{} : found;
}

// Token ids as text, or with spaces between without an alphabet.
inline std::string text_of(const Contract& contract, const std::int32_t* ids) {
  std::string text;
  for (std::size_t cell = 0; cell < contract.cells(); ++cell) {
    if (!contract.alphabet) {
      text += (cell ? " " : "") + std::to_string(ids[cell]);
      continue;
    }
    const auto id = static_cast<std::size_t>(ids[cell]);
    const bool known = ids[cell] >= 0 && id < contract.alphabet->size() && !(*contract.alphabet)[id].empty();
    text += known ? characters((*contract.alphabet)[id]).front() : "?";
  }
  return text;
}

}  // namespace trm
