// Puzzles in a text: one a line, or one over the lines of a grid, in the alphabet of the contract. And their
// identifiers, one a line.
//
// Between the cells there may be spaces, commas, bars and the like, where these are no cells. In a line
// with several boards the first one is the puzzle. Without an alphabet a line is token ids. A line that starts
// with # is a comment; where # is a cell, it is one only above a board, and if it does not look like a board.
// Where a space is a cell, a text has boards of one form, and nothing but rules between the rows of one.
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

// Calls `use` with each line of a text and its place; refuses what is no UTF-8, by the name of the file.
template <typename Use>
void for_each_line(const std::string& text, const std::string& file, const Use& use) {
  if (!is_utf8(text)) throw Error(file + ": not UTF-8 text.");
  std::istringstream source(text.rfind("\xEF\xBB\xBF", 0) == 0 ? text.substr(3) : text);
  std::string line;
  for (std::size_t number = 1; std::getline(source, line); ++number) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    use(line, file + ": line " + std::to_string(number));
  }
}

inline std::string stripped(const std::string& line) {
  constexpr const char* BLANKS = " \t\r\v\f";
  const std::size_t from = line.find_first_not_of(BLANKS);
  return from == std::string::npos ? "" : line.substr(from, line.find_last_not_of(BLANKS) + 1 - from);
}

// The identifiers of puzzles; refuses a line that is no integer, by its number.
inline std::vector<std::int32_t> read_identifiers(const std::string& text, const std::string& file) {
  std::vector<std::int32_t> found;
  for_each_line(text, file, [&](const std::string& line, const std::string& place) {
    const std::string word = stripped(line);
    if (word.empty()) return;
    const std::size_t sign = word[0] == '-' ? 1 : 0, digits = word.size() - sign;
    if (digits < 1 || digits > 9 || word.find_first_not_of("0123456789", sign) != std::string::npos)
      throw Error(place + ": expected one integer, got " + json_text(word.substr(0, 60)) + ".");
    found.push_back(std::stoi(word));
  });
  return found;
}

class PuzzleReader {
 public:
  explicit PuzzleReader(const Contract& contract) : contract_(contract), size_(contract.cells()) {
    while (side_ * side_ < size_) ++side_;
    if (side_ * side_ > size_) side_ = size_;  // no square: a puzzle is a line
    for (std::size_t id = 0; contract.alphabet && id < contract.alphabet->size(); ++id) {
      for (const std::string& sign : characters((*contract.alphabet)[id]))
        ids_[sign] = static_cast<std::int32_t>(id);
    }
    for (const std::string& sign : characters(" \t:=|!+-*─│┌┐└┘├┤┬┴┼━┃═║")) rules_.insert(sign);
    between_ = rules_;
    for (const char sign : std::string(",;[](){}\"'")) between_.insert(std::string(1, sign));
  }

  // Every puzzle, int32 (N, S); refuses lines that fit no board, by the name of the file and their number.
  Tensor read(const std::string& text, const std::string& file = "the text") const {
    std::vector<std::int32_t> tokens, rows;
    bool is_alone = false, is_drawn = false;  // what boards there were: of a line, and of several
    std::string first;                        // the place of the first row
    for_each_line(text, file, [&](const std::string& line, const std::string& place) {
      // Below a board of one line there are no remarks.
      if (rows.empty() && (stripped(line).empty() || (!is_alone && is_remark(line)))) return;
      const Signs cells = cells_of(line);
      const std::size_t count = cells.size();
      if (is_spaced() && !rows.empty() && count != side_ && !is_rule(line)) {
        throw Error(first + ": expected " + counted(side_, "line") + " of " + counted(side_, "cell") + ", got " +
                    std::to_string(rows.size() / side_) + ".");
      }
      if (cells.empty()) return;
      const bool is_whole = rows.empty() && count == size_ && !(is_spaced() && is_drawn),
                 is_row = count == side_ && !(is_spaced() && is_alone && count < size_);
      if (!is_whole && !is_row) {
        throw Error(place + ": expected " + counted(size_, "cell") + ", or " + std::to_string(side_) +
                    " of a row, got " + std::to_string(count) + ".");
      }
      if (rows.empty()) first = place;
      is_alone = is_alone || count == size_;
      is_drawn = is_drawn || count < size_;
      for (const std::string& cell : cells) rows.push_back(id_of(cell, place));
      if (rows.size() < size_) return;
      tokens.insert(tokens.end(), rows.begin(), rows.end());
      rows.clear();
    });
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

  static std::vector<std::string> split(const std::string& line, const std::string& separators) {
    std::vector<std::string> fields;
    for (std::size_t from = 0; from <= line.size();) {
      const std::size_t to = std::min(line.find_first_of(separators, from), line.size());
      if (to > from) fields.push_back(line.substr(from, to - from));
      from = to + 1;
    }
    return fields;
  }

  Signs bare(const std::string& text) const {
    Signs found;
    for (const std::string& sign : characters(text)) {
      if (ids_.count(sign) || !between_.count(sign)) found.push_back(sign);
    }
    return found;
  }

  bool is_spaced() const { return ids_.count(" ") > 0; }

  // Whether a line is only drawn, between the rows of a board.
  bool is_rule(const std::string& line) const {
    const Signs signs = characters(line);
    return !signs.empty() && std::all_of(signs.begin(), signs.end(), [&](const std::string& sign) {
      return rules_.count(sign) && !ids_.count(sign);
    });
  }

  bool fits(const Signs& signs) const { return signs.size() == side_ || signs.size() == size_; }

  // The cells of the first board in a line, or of a row; what fits neither is to be refused.
  Signs cells_of(const std::string& line) const {
    if (stripped(line)[0] == '#' && !ids_.count("#")) return {};  // a comment
    if (!contract_.alphabet) return split(line, ",;\t ");
    if (is_spaced()) return spaced(line);
    const Signs whole = bare(line);
    if (fits(whole)) return whole;
    for (const std::string& field : split(line, ",;\t ")) {
      const Signs cells = bare(field);
      if (cells.size() == size_) return cells;
      if (looks_like(cells)) break;
    }
    return whole;
  }

  std::size_t known_of(const Signs& signs) const {
    return static_cast<std::size_t>(
        std::count_if(signs.begin(), signs.end(), [&](const std::string& sign) { return ids_.count(sign); }));
  }

  // Whether signs could be a board with some cells too few or too many: a solution behind it is not the puzzle.
  bool looks_like(const Signs& signs) const {
    return 2 * signs.size() >= size_ && 4 * known_of(signs) >= 3 * signs.size();
  }

  // Whether a line is a remark where # is a cell: it has other signs, and is no board with wrong ones.
  bool is_remark(const std::string& line) const {
    const Signs signs = bare(stripped(line));
    const std::size_t known = known_of(signs);
    const bool is_board = fits(signs) && 2 * known >= signs.size();
    return !signs.empty() && signs[0] == "#" && known < signs.size() && !is_board && !looks_like(signs);
  }

  // The cells of a line where a space is one, also at the ends, as long as there are not too many.
  Signs spaced(std::string line) const {
    line.erase(std::remove(line.begin(), line.end(), '"'), line.end());
    for (const std::size_t most : {size_, side_}) {
      const Signs whole = trimmed(line, most);
      if (fits(whole)) return whole;
    }
    std::string separators;
    for (const char sign : std::string(",;:\t|")) {
      if (!ids_.count(std::string(1, sign))) separators += sign;
    }
    const std::vector<std::string> fields = split(line, separators);
    for (const std::string& field : fields) {
      const Signs cells = trimmed(field, size_);
      if (cells.size() == size_) return cells;
      if (looks_like(cells)) return characters(line);
    }
    const auto is_cell = [](const std::string& field) { return characters(field).size() == 1; };
    const bool is_apart = fields.size() == size_ || fields.size() == 2 * size_;
    if (is_apart && std::all_of(fields.begin(), fields.end(), is_cell))
      return Signs(fields.begin(), fields.begin() + static_cast<std::ptrdiff_t>(size_));
    return is_rule(line) ? Signs() : characters(line);
  }

  // The signs of a text, without spaces at its ends as long as there are more than `most`.
  static Signs trimmed(const std::string& text, std::size_t most) {
    const Signs signs = characters(text);
    auto from = signs.begin(), end = signs.end();
    const auto is_long = [&] { return static_cast<std::size_t>(end - from) > most; };
    while (is_long() && *from == " ") ++from;
    while (is_long() && *(end - 1) == " ") --end;
    return Signs(from, end);
  }

  const Contract& contract_;
  std::size_t size_, side_ = 1;
  std::map<std::string, std::int32_t> ids_;  // of each character
  std::set<std::string> between_, rules_;  // what is drawn between cells, and between rows
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
