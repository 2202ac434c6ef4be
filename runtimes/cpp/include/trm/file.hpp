// The contract inside an exported file, after its checksum: docs/contract.md, "Where the contract is".
// Knows no engine. Files are untrusted: nothing outside the bytes that are there is read.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "error.hpp"
#include "json.hpp"
#include "sha256.hpp"

namespace trm {

constexpr std::size_t MAX_CONTRACT = 1 << 20;  // bytes of a contract, and of the directory of an archive

inline std::string read_file(const std::string& path) {
  std::error_code unknown;
  if (std::filesystem::exists(path, unknown) && !std::filesystem::is_regular_file(path, unknown)) {
    throw Error(path + ": cannot be read: it is no regular file.");
  }
  errno = 0;
  std::ifstream source(path, std::ios::binary);
  if (!source.is_open()) throw Error(path + ": cannot be read: " + std::strerror(errno) + ".");
  std::string bytes(std::istreambuf_iterator<char>(source), {});
  if (source.bad()) throw Error(path + ": cannot be read: " + std::strerror(errno) + ".");
  return bytes;
}

namespace file_detail {

struct Damaged {};  // an offset or a length outside the bytes

using Bytes = std::string_view;

inline Bytes part(Bytes bytes, std::uint64_t from, std::uint64_t size) {
  if (from > bytes.size() || size > bytes.size() - from) throw Damaged{};
  return bytes.substr(static_cast<std::size_t>(from), static_cast<std::size_t>(size));
}

inline std::uint32_t little(Bytes bytes, std::uint64_t from, std::uint64_t size) {
  std::uint32_t value = 0;
  const Bytes found = part(bytes, from, size);
  for (std::size_t i = found.size(); i-- > 0;) value = value << 8 | static_cast<unsigned char>(found[i]);
  return value;
}

inline void check_digest(Bytes covered, Bytes digits) {
  if (Sha256::of(covered) == digits) return;
  throw Error("The file does not match its checksum, so it is damaged or was changed.");
}

// One field of a protobuf message.
struct Field {
  std::uint64_t number;
  bool is_bytes;
  std::uint64_t value;  // of a number
  Bytes bytes;          // of a field with a length
};

class Message {
 public:
  explicit Message(Bytes bytes) : bytes_(bytes) {}

  std::optional<Field> next() {
    if (at_ >= bytes_.size()) return std::nullopt;
    const std::uint64_t tag = varint();
    Field field{tag >> 3, false, 0, {}};
    if (field.number == 0) throw Damaged{};
    if ((tag & 7) == 0) field.value = varint();
    else if ((tag & 7) == 1) skip(8);
    else if ((tag & 7) == 5) skip(4);
    else if ((tag & 7) == 2) {
      const std::uint64_t size = varint();
      field.is_bytes = true;
      field.bytes = part(bytes_, at_, size);
      at_ += size;
    } else throw Damaged{};
    return field;
  }

 private:
  void skip(std::uint64_t size) {
    part(bytes_, at_, size);
    at_ += size;
  }
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(part(bytes_, at_, 1)[0]);
      ++at_;
      if (shift == 63 && byte > 1) break;
      value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    throw Damaged{};
  }

  Bytes bytes_;
  std::uint64_t at_ = 0;
};

// Messages of onnx.proto that can hold a tensor: the message and field, and the message in it.
enum Kind { MODEL, TRAINING, FUNCTION, GRAPH, NODE, ATTRIBUTE, SPARSE, TENSOR };
struct Inner {
  Kind outer;
  std::uint64_t field;
  Kind inner;
};
constexpr Inner INNER[] = {
    {MODEL, 7, GRAPH},       {MODEL, 20, TRAINING},   {MODEL, 25, FUNCTION},     {TRAINING, 1, GRAPH},
    {TRAINING, 2, GRAPH},    {FUNCTION, 7, NODE},     {FUNCTION, 11, ATTRIBUTE}, {GRAPH, 1, NODE},
    {GRAPH, 5, TENSOR},      {GRAPH, 15, SPARSE},     {NODE, 5, ATTRIBUTE},      {ATTRIBUTE, 5, TENSOR},
    {ATTRIBUTE, 6, GRAPH},   {ATTRIBUTE, 10, TENSOR}, {ATTRIBUTE, 11, GRAPH},    {ATTRIBUTE, 22, SPARSE},
    {ATTRIBUTE, 23, SPARSE}, {SPARSE, 1, TENSOR},     {SPARSE, 2, TENSOR}};
constexpr std::uint64_t EXTERNAL_DATA = 13, DATA_LOCATION = 14, METADATA = 14;

inline void refuse_external(Bytes bytes) {
  std::vector<std::pair<Kind, Bytes>> waiting{{MODEL, bytes}};
  while (!waiting.empty()) {
    const auto [kind, message] = waiting.back();
    waiting.pop_back();
    Message fields(message);
    while (const auto field = fields.next()) {
      for (const Inner& inner : INNER) {
        if (field->is_bytes && inner.outer == kind && inner.field == field->number) {
          waiting.emplace_back(inner.inner, field->bytes);
        }
      }
      const bool elsewhere = field->number == DATA_LOCATION && !field->is_bytes && field->value == 1;
      if (kind == TENSOR && (field->number == EXTERNAL_DATA || elsewhere)) {
        throw Error("The file has tensors in other files; export it as one file.");
      }
    }
  }
}

inline std::optional<std::string> of_onnx(Bytes bytes) {
  constexpr Bytes SEAL("\x72\x53\x0a\x0ftrm_file.sha256\x12\x40", 21);
  constexpr std::size_t TAIL = 85;
  if (bytes.size() < TAIL || bytes.substr(bytes.size() - TAIL, SEAL.size()) != SEAL) {
    throw Error("The file has no checksum, so it is no exported file, is damaged or was rewritten.");
  }
  check_digest(bytes.substr(0, bytes.size() - TAIL), bytes.substr(bytes.size() - 64));
  refuse_external(bytes);
  Message model(bytes);
  while (const auto field = model.next()) {
    if (field->number != METADATA || !field->is_bytes) continue;
    Message entry(field->bytes);
    Bytes key, value;
    while (const auto inner = entry.next()) {
      if (inner->is_bytes && inner->number == 1) key = inner->bytes;
      if (inner->is_bytes && inner->number == 2) value = inner->bytes;
    }
    if (key == "trm_contract") return std::string(value);
  }
  return std::nullopt;
}

struct Member {
  std::uint64_t start;
  Bytes data;
};

// The stored members of the ZIP archive at the end.
inline std::map<std::string, Member> archive(Bytes bytes) {
  const Bytes tail = bytes.substr(bytes.size() - std::min<std::size_t>(bytes.size(), 65557));
  const std::size_t found = tail.rfind("PK\5\6");
  const std::uint64_t end = bytes.size() - tail.size() + found;
  if (found == Bytes::npos || end + 22 + little(bytes, end + 20, 2) != bytes.size()) {
    throw Error("The file does not end with its ZIP archive: it is truncated or damaged.");
  }
  if (little(bytes, end + 12, 4) > MAX_CONTRACT)
    throw Error("The directory of the ZIP archive is too large.");
  std::map<std::string, Member> members;
  std::uint64_t at = little(bytes, end + 16, 4);
  for (std::uint32_t count = little(bytes, end + 10, 2); count > 0; --count) {
    const std::uint32_t name_size = little(bytes, at + 28, 2), start = little(bytes, at + 42, 4);
    const std::string name(part(bytes, at + 46, name_size));
    if (little(bytes, at + 8, 2) & 1 || little(bytes, at + 10, 2)) {
      throw Error("A member of the ZIP archive is not stored as it is.");
    }
    const std::uint64_t from = std::uint64_t{start} + 30 + little(bytes, std::uint64_t{start} + 26, 2) +
                               little(bytes, std::uint64_t{start} + 28, 2);
    const Member member{
        start, part(bytes.substr(0, static_cast<std::size_t>(end)), from, little(bytes, at + 24, 4))};
    if (!members.emplace(name, member).second) throw Error("The ZIP archive has two members of one name.");
    at += 46 + std::uint64_t{name_size} + little(bytes, at + 30, 2) + little(bytes, at + 32, 2);
  }
  return members;
}

inline std::optional<std::string> of_tflite(Bytes bytes) {
  const auto members = archive(bytes);
  const auto find = [&](const char* name) {
    const auto place = members.find(name);
    return place == members.end() ? nullptr : &place->second;
  };
  const Member *contract = find("trm_contract.json"), *sum = find("trm_file.sha256"),
               *old = find("trm_flatbuffer.sha256");
  std::uint64_t first = bytes.size(), last = 0;
  for (const auto& [name, member] : members) {
    first = std::min(first, member.start);
    last = std::max(last, member.start);
  }
  if (sum && sum->start < last) throw Error("The file has a member behind its checksum, so it was changed.");
  if (!sum && !old) throw Error("The file has no checksum, so it is damaged or was rewritten.");
  check_digest(part(bytes, 0, sum ? sum->start : first), (sum ? sum : old)->data);
  if (!contract) return std::nullopt;
  std::string text(contract->data);
  if (sum || text.size() > MAX_CONTRACT) return text;
  const Json parsed = JsonReader::parse(text, "The step contract");
  const Json* version = parsed.find("schema_version");
  if (version && version->is(Json::Kind::whole) && version->whole == 1) return text;
  throw Error("The checksum of the file does not cover its contract; export it again.");
}

}  // namespace file_detail

// Whether a file is TFLite, by the letters at offset 4; else it is ONNX.
inline bool is_tflite(std::string_view bytes) { return bytes.size() >= 8 && bytes.substr(4, 4) == "TFL3"; }

// The text of the contract in a file, whose checksum is right.
inline std::string contract_text(std::string_view bytes) {
  std::optional<std::string> text;
  try {
    text = is_tflite(bytes) ? file_detail::of_tflite(bytes) : file_detail::of_onnx(bytes);
  } catch (const file_detail::Damaged&) {
    throw Error("The file is no ONNX or TFLite file, or is damaged.");
  }
  if (!text) throw Error("The file has no step contract; export it with trm-export.");
  if (text->size() > MAX_CONTRACT) throw Error("The step contract has more than 1048576 bytes.");
  if (!is_utf8(*text)) throw Error("The step contract is not UTF-8 text.");
  return *text;
}

}  // namespace trm
