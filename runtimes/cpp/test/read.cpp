// Reads changed files with the readers of this driver, for sanitizers:
//
//   read CONTRACT FILE...      a line for each: `read`, or `refused` and why
//
// The name tells the reader: .onnx, .tflite, .json (a contract), .txt (puzzles of CONTRACT), .request
// (what a step server is sent; no engine is asked).

#include <cstdio>
#include <string>

#include "../include/trm/file.hpp"
#include "../include/trm/puzzles.hpp"
#include "../include/trm/step_server.hpp"

namespace {

// An engine that returns its carry, and zeros.
class Echo final : public trm::Runner {
 public:
  using Runner::Runner;
  std::string engine() const override { return "none"; }
  trm::StepOutput call(const trm::Tensors& inputs, const trm::Tensors& carry) override {
    trm::StepOutput output{{}, carry};
    for (const trm::Spec& spec : contract().outputs)
      output.outputs[spec.name] = trm::empty_tensor(spec, trm::rows_of(inputs));
    return output;
  }
};

void read(const std::string& path, const trm::Contract& contract) {
  const auto ends = [&](const std::string& end) {
    return path.size() > end.size() && path.substr(path.size() - end.size()) == end;
  };
  const std::string bytes = trm::read_file(path);
  if (ends(".json")) trm::Contract::parse(bytes);
  else if (ends(".txt")) trm::PuzzleReader(contract).read(bytes);
  else if (ends(".request")) {
    Echo runner(contract);
    std::FILE *nowhere = std::fopen("/dev/null", "wb"), *source = std::fopen(path.c_str(), "rb");
    const trm::StepServer server(nowhere);
    try {
      server.serve(runner, "test", source);
    } catch (...) {
      std::fclose(source);
      std::fclose(nowhere);
      throw;
    }
    std::fclose(source);
    std::fclose(nowhere);
  } else trm::Contract::parse(trm::contract_text(bytes));
}

}  // namespace

int main(int count, char** words) {
  if (count < 3) return 2;
  const trm::Contract contract = trm::Contract::parse(trm::read_file(words[1]));
  for (int i = 2; i < count; ++i) {
    try {
      read(words[i], contract);
      std::printf("read %s\n", words[i]);
    } catch (const trm::Error& error) {
      std::printf("refused %s: %s\n", words[i], error.what());
    }
  }
  return 0;
}
