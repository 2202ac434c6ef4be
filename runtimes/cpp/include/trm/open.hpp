// Opens an exported file with the engine of its format.
#pragma once

#include <memory>
#include <string>

#include "litert.hpp"
#include "onnxruntime.hpp"

namespace trm {

// A damaged file, or one that differs from its contract, is refused. `library` is the path of the
// engine; if empty, TRM_ONNXRUNTIME or TRM_LITERT in the environment, or else the system's.
inline std::unique_ptr<Runner> open_runner(const std::string& path, int threads = 0,
                                           const std::string& library = "") {
  std::string bytes = read_file(path);
  Contract contract;
  try {
    contract = Contract::parse(contract_text(bytes));
  } catch (const Error& error) {
    throw Error(path + ": " + error.what(), error.exit_code);
  }
  const Quiet quiet;
  if (is_tflite(bytes))
    return std::make_unique<LitertRunner>(std::move(bytes), std::move(contract), threads, library);
  return std::make_unique<OnnxRunner>(bytes, std::move(contract), threads, library);
}

}  // namespace trm
