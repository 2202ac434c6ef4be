// trm MODEL PUZZLES: solves puzzles, and prints a line for each. trm --serve MODEL is a step server.

#include <cctype>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <functional>
#include <iostream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "trm/open.hpp"
#include "trm/puzzles.hpp"
#include "trm/step_server.hpp"
#include "trm/vectors.hpp"

namespace {

constexpr const char* VERSION = "0.1.0";
constexpr const char* HELP = R"(usage: trm MODEL PUZZLES [options]
       trm --serve MODEL [--threads N] [--engine PATH]
       trm --vectors FOLDER [MODEL] [--threads N] [--engine PATH]

Solve puzzles with an exported Tiny Recursive Model.

  MODEL                an exported .onnx or .tflite file
  PUZZLES              text file of puzzles, - is standard input
  --identifiers FILE   text file of puzzle identifiers, one a line (default: 0)
  --halt RULE          learned (default), max_steps, or a threshold for the halt logit
  --max-steps N        stop every puzzle after N steps
  --deadline SECONDS   stop all puzzles after this time
  --batch-size N       puzzles in one batch (default 64)
  --tries N            ask a puzzle whose answer is not sure again, N times at most (default 1)
  --vary WAY           how tries differ: symmetry (default), noise or both
  --choose RULE        the answer among tries: score (default), first or vote
  --seed N             of the tries (default 0)
  --sigma S            deviation of the noise (default 0.2)
  --threads N          threads of the engine (default: its own choice)
  --engine PATH        library of the engine (default: TRM_ONNXRUNTIME or TRM_LITERT)
  --json               print one JSON object with a line for each puzzle, errors included
  --serve              answer requests for steps on standard input, for `check --command`
  --vectors            check the recorded cases of a folder, without a model those that need no engine
  --version, --help    print this

Each line of output: answer, steps, stop reason, q_halt, separated by tabs; with --tries the number of
tries, their steps and the one that gave the answer, from 0. It is written as soon as its puzzle and all
before it are done. Exit codes: 0 ok, 1 known error, 2 usage, 3 a missing engine,
4 rejected or damaged input, 5 a case of the vectors failed, 6 answers with NaN or infinity, 7 an answer
changes a given cell of its puzzle, 8 the deadline ended a puzzle.
)";

struct Arguments {
  std::vector<std::string> files;
  std::map<std::string, std::string> values;

  bool has(const std::string& name) const { return values.count(name) > 0; }
  std::string text(const std::string& name) const { return has(name) ? values.at(name) : ""; }

  // A number as Python reads one: infinite beyond the largest, and by its name.
  double number(const std::string& name, const std::string& expected) const {
    constexpr double INFINITE = std::numeric_limits<double>::infinity();
    const std::string given = text(name), word = given.substr(given[0] == '+' ? 1 : 0);
    if (is_word(word, "inf") || is_word(word, "infinity")) return INFINITE;
    std::istringstream source(given);
    source.imbue(std::locale::classic());
    double value = 0;
    source >> value;  // of one that is too large the largest
    if (given.empty() || !source.eof() || (source.fail() && value == 0)) throw wrong(name, expected);
    return source.fail() ? std::copysign(INFINITE, value) : value;
  }
  double finite(const std::string& name, const std::string& expected) const {
    const double value = number(name, expected);
    if (!std::isfinite(value)) throw wrong(name, expected);
    return value;
  }
  std::optional<std::int64_t> whole(const std::string& name) const {
    if (!has(name)) return std::nullopt;
    const std::string given = text(name);
    const std::size_t sign = given.find_first_of("+-") == 0 ? 1 : 0, digits = given.size() - sign;
    if (digits < 1 || digits > 18 || given.find_first_not_of("0123456789", sign) != std::string::npos)
      throw wrong(name, "a whole number");
    return std::stoll(given);
  }
  int threads() const {
    const std::int64_t given = whole("--threads").value_or(0),
                       most = static_cast<std::int64_t>(trm::limit_of("TRM_MAX_THREADS", 256));
    if (has("--threads") && (given < 1 || given > most))
      throw trm::Error(
          "threads: expected 1 to " + std::to_string(most) + ", got " + std::to_string(given) + ".",
          trm::USAGE);
    return static_cast<int>(given);
  }

 private:
  trm::Error wrong(const std::string& name, const std::string& expected) const {
    return trm::Error(name + ": expected " + expected + ", got " + trm::json_text(text(name)) + ".",
                      trm::USAGE);
  }
  // Whether a text is that word, in letters of any size.
  static bool is_word(const std::string& text, const std::string& word) {
    return std::equal(text.begin(), text.end(), word.begin(), word.end(), [](char own, char other) {
      return std::tolower(static_cast<unsigned char>(own)) == other;
    });
  }
};

Arguments parse(const std::vector<std::string>& words) {
  const std::vector<std::string> flags{"--json", "--serve", "--vectors", "--version", "--help"};
  const std::vector<std::string> valued{"--identifiers", "--halt",   "--max-steps", "--deadline",
                                        "--batch-size",  "--tries",  "--vary",      "--choose",
                                        "--seed",        "--sigma",  "--threads",   "--engine"};
  const auto is_one = [](const std::vector<std::string>& of, const std::string& name) {
    return std::find(of.begin(), of.end(), name) != of.end();
  };
  Arguments found;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    const std::size_t sign = word.find('=');
    const std::string name = word.substr(0, sign);
    if (word == "-" || word.rfind("-", 0) != 0) found.files.push_back(word);
    else if (word == "-h") found.values["--help"] = "";
    else if (is_one(flags, word)) found.values[word] = "";
    else if (!is_one(valued, name))
      throw trm::Error("Unrecognized arguments: " + word + " (see `trm --help`).", trm::USAGE);
    else if (sign != std::string::npos) found.values[name] = word.substr(sign + 1);
    else if (i + 1 < words.size()) found.values[name] = words[++i];
    else throw trm::Error("Argument " + name + ": expected one argument (see `trm --help`).", trm::USAGE);
  }
  const std::size_t count = found.files.size();
  const bool fits = found.has("--serve")     ? count == 1
                    : found.has("--vectors") ? count == 1 || count == 2
                                             : count == 2;
  if (!fits && !found.has("--help") && !found.has("--version")) {
    throw trm::Error("Expected MODEL and PUZZLES (see `trm --help`).", trm::USAGE);
  }
  for (const char* mode : {"--serve", "--vectors"}) {
    for (const auto& [name, unused] : found.values) {
      if (!found.has(mode) || is_one({mode, "--threads", "--engine", "--help", "--version"}, name)) continue;
      throw trm::Error(name + ": without effect with " + mode + "; drop it.", trm::USAGE);
    }
  }
  return found;
}

std::string read_text(const std::string& path) {
  const std::string text =
      path == "-" ? std::string(std::istreambuf_iterator<char>(std::cin), {}) : trm::read_file(path);
  const std::size_t most = trm::limit_of("TRM_MAX_FILE_MB", 64);
  if (text.size() > most << 20) {
    throw trm::Error(path + ": larger than " + std::to_string(most) +
                     " MB; set the environment variable TRM_MAX_FILE_MB to allow more.");
  }
  for (const char* magic : {"PK\x03\x04", "\x1f\x8b"})
    if (text.rfind(magic, 0) == 0) throw trm::Error(path + ": packed as ZIP or gzip; unpack it first.");
  return text;
}

// The identifiers of so many puzzles: those of a file, or 0.
trm::Tensor identifiers(const std::string& path, std::size_t rows) {
  trm::Tensor found{trm::Dtype::int32, {static_cast<std::int64_t>(rows)}, std::vector<char>(rows * 4)};
  if (path.empty()) return found;
  const std::vector<std::int32_t> ids = trm::read_identifiers(read_text(path), path);
  if (ids.size() != rows) {
    throw trm::Error(path + ": expected " + std::to_string(rows) + " identifiers, one for each puzzle, got " +
                     std::to_string(ids.size()) + ".");
  }
  for (std::size_t row = 0; row < rows; ++row) trm::set_element(found.data.data(), row, ids[row]);
  return found;
}

// The inputs of the model from the files of the command.
trm::Tensors inputs_of(const Arguments& given, const trm::Contract& contract) {
  trm::Tensors puzzles;
  puzzles["inputs"] = trm::PuzzleReader(contract).read(read_text(given.files[1]), given.files[1]);
  if (trm::find_spec(contract.inputs, "puzzle_embedding"))
    throw trm::Error(
        "This model takes rows of its table of puzzle embeddings, which this command does not read; use the "
        "library.");
  if (trm::find_spec(contract.inputs, "puzzle_identifiers"))
    puzzles["puzzle_identifiers"] = identifiers(given.text("--identifiers"), trm::rows_of(puzzles));
  else if (given.has("--identifiers"))
    throw trm::Error("This model takes no puzzle identifiers; drop --identifiers.");
  return puzzles;
}

// An option that does nothing would be taken for one that does.
void refuse_without_effect(const Arguments& given) {
  std::string names;
  for (const std::string name : {"--vary", "--choose", "--seed", "--sigma"}) {
    if (given.has(name)) names += (names.empty() ? "" : " and ") + name;
  }
  const auto refuse = [](const std::string& text) { throw trm::Error(text, trm::USAGE); };
  if (!names.empty() && given.whole("--tries").value_or(1) == 1)
    refuse(names + ": without effect while a puzzle has one try; give --tries 2 or more as well.");
  if (given.has("--sigma") && (!given.has("--vary") || given.text("--vary") == "symmetry"))
    refuse("--sigma: without effect while tries differ by symmetry; give --vary noise or both as well.");
  if (given.files[1] == "-" && given.text("--identifiers") == "-")
    refuse("Standard input cannot be both PUZZLES and --identifiers; give a file for one of them.");
}

trm::Options options_of(const Arguments& given) {
  trm::Options options;
  options.max_steps = given.whole("--max-steps");
  options.slots = given.whole("--batch-size");
  options.tries = given.whole("--tries").value_or(options.tries);
  options.seed = given.whole("--seed").value_or(options.seed);
  if (given.has("--vary")) options.vary = given.text("--vary");
  if (given.has("--choose")) options.choose = given.text("--choose");
  if (given.has("--sigma")) options.sigma = given.number("--sigma", "a number");
  if (given.has("--deadline")) options.deadline = given.number("--deadline", "seconds");
  const std::string halt = given.text("--halt");
  if (halt == "max_steps") options.threshold = std::numeric_limits<double>::infinity();
  else if (given.has("--halt") && halt != "learned")
    options.threshold = given.finite("--halt", "learned, max_steps or a number");
  return options;
}

// Writes answers while they are found.
class Stream {
 public:
  Stream(const trm::Contract& contract, const trm::Tensor& puzzles, bool as_json)
      : contract_(contract), puzzles_(puzzles), blanks_(trm::blanks(contract)), as_json_(as_json) {}

  // The puzzles up to the first that still runs; nothing once the reader of them has gone away.
  void write(const trm::Solution& solution) {
    if (unread_) return;
    errno = 0;  // a full buffer is written before the flush
    if (as_json_ && !begun_) {
      std::cout << "{\"model_name\": " << trm::json_text(contract_.model_name)
                << ", \"precision\": " << trm::json_text(contract_.precision) << ", \"puzzles\": [\n";
      begun_ = true;
    }
    for (; next_ < solution.reasons.size() && solution.reasons[next_] != trm::Stop::running; ++next_) {
      if (as_json_) write_json(solution, next_);
      else write_line(solution, next_);
    }
    std::cout.flush();
    unread_ = !std::cout && errno == EPIPE;
    if (!std::cout && !unread_) throw trm::Error("Standard output cannot be written.", 1);
  }
  void end() {
    if (begun_) std::cout << "]}\n" << std::flush;
    begun_ = false;
  }
  bool begun() const { return begun_; }
  bool unread() const { return unread_; }

  // Whether an answer has every given cell of its puzzle; nothing if that is not known.
  std::optional<bool> given_kept(const trm::Solution& solution, std::size_t puzzle) const {
    if (blanks_.empty() || !std::isfinite(solution.q_halt[puzzle])) return std::nullopt;
    for (std::size_t cell = 0; cell < contract_.cells(); ++cell) {
      const auto given = trm::element<std::int32_t>(puzzles_.row(puzzle), cell);
      const bool kept = given == solution.answers[puzzle * contract_.cells() + cell];
      if (!kept && !blanks_[static_cast<std::size_t>(given)]) return false;
    }
    return true;
  }

 private:
  static const char* reason(const trm::Solution& solution, std::size_t puzzle) {
    return trm::STOP_REASONS[static_cast<int>(solution.reasons[puzzle])];
  }
  std::string answer(const trm::Solution& solution, std::size_t puzzle) const {
    return trm::text_of(contract_, solution.answers.data() + puzzle * contract_.cells());
  }
  static std::string number(const char* format, float value) {
    char text[64];
    std::snprintf(text, sizeof text, format, static_cast<double>(value));
    return text;
  }
  void write_line(const trm::Solution& solution, std::size_t puzzle) const {
    const float q_halt = solution.q_halt[puzzle];
    std::cout << answer(solution, puzzle) << '\t' << solution.steps[puzzle] << '\t'
              << reason(solution, puzzle) << '\t' << (std::isnan(q_halt) ? "nan" : number("%.4f", q_halt));
    if (!solution.tries.empty())
      std::cout << '\t' << solution.tries[puzzle] << '\t' << solution.total_steps[puzzle] << '\t'
                << solution.chosen[puzzle];
    std::cout << '\n';
  }
  void write_json(const trm::Solution& solution, std::size_t puzzle) const {
    std::cout << (puzzle ? "," : "") << "{\"answer\": " << trm::json_text(answer(solution, puzzle))
              << ", \"ids\": [";
    for (std::size_t cell = 0; cell < contract_.cells(); ++cell) {
      std::cout << (cell ? ", " : "") << solution.answers[puzzle * contract_.cells() + cell];
    }
    const float q_halt = solution.q_halt[puzzle];
    const std::optional<bool> kept = given_kept(solution, puzzle);
    std::cout << "], \"steps\": " << solution.steps[puzzle] << ", \"stop_reason\": \""
              << reason(solution, puzzle)
              << "\", \"q_halt\": " << (std::isfinite(q_halt) ? number("%.17g", q_halt) : "null")
              << ", \"given_kept\": "
              << (!kept   ? "null"
                  : *kept ? "true"
                          : "false");
    if (!solution.tries.empty())
      std::cout << ", \"tries\": " << solution.tries[puzzle]
                << ", \"total_steps\": " << solution.total_steps[puzzle]
                << ", \"chosen\": " << solution.chosen[puzzle];
    std::cout << "}\n";
  }

  const trm::Contract& contract_;
  const trm::Tensor& puzzles_;
  std::vector<bool> blanks_;
  bool as_json_, begun_ = false, unread_ = false;
  std::size_t next_ = 0;
};

std::string stops(const trm::Solution& solution) {
  std::map<std::string, std::size_t> counts;
  const bool several = !solution.tries.empty();
  double steps = 0, tries = 0;
  for (const trm::Stop reason : solution.reasons) ++counts[trm::STOP_REASONS[static_cast<int>(reason)]];
  for (const std::int32_t count : several ? solution.total_steps : solution.steps) steps += count;
  for (const std::int32_t count : solution.tries) tries += count;
  std::string text;
  for (const auto& [reason, count] : counts)
    text += (text.empty() ? "" : ", ") + std::to_string(count) + " " + reason;
  const double puzzles = static_cast<double>(solution.steps.size());
  char mean[96], in[64] = "";
  if (several) std::snprintf(in, sizeof in, " in %.2f tries", tries / puzzles);
  std::snprintf(mean, sizeof mean, "; %.2f steps%s on average", steps / puzzles, in);
  return text + mean;
}

int solve(const Arguments& given, bool& begun) {
  trm::Options options = options_of(given);
  refuse_without_effect(given);
  const auto runner = trm::open_runner(given.files[0], given.threads(), given.text("--engine"));
  const trm::Contract& contract = runner->contract();
  trm::Tensors puzzles = inputs_of(given, contract);
  const std::size_t count = trm::rows_of(puzzles);
  Stream stream(contract, puzzles["inputs"], given.has("--json"));
  options.on_step = [&](const trm::Solution& found, const std::vector<std::size_t>& ended) {
    if (!ended.empty()) stream.write(found);
    begun = stream.begun();
    return !stream.unread();
  };
  const auto started = std::chrono::steady_clock::now();
  const trm::Solution found = trm::solve(*runner, puzzles, options);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  stream.write(found);
  stream.end();
  begun = false;
  std::size_t bad = 0, changed = 0, late = 0, cancelled = 0;
  for (std::size_t puzzle = 0; puzzle < count; ++puzzle) {
    if (found.reasons[puzzle] == trm::Stop::nonfinite) ++bad;
    if (found.reasons[puzzle] == trm::Stop::deadline) ++late;
    if (found.reasons[puzzle] == trm::Stop::cancelled) ++cancelled;
    else if (!stream.given_kept(found, puzzle).value_or(true)) ++changed;
  }
  if (cancelled && !bad) return 0;  // as nobody reads the answers
  std::fprintf(stderr, "%s in %.2f s: %s\n", trm::counted(count, "puzzle").c_str(), seconds,
               stops(found).c_str());
  if (contract.num_puzzle_identifiers > 1 && !given.has("--identifiers"))
    std::fprintf(stderr, "all asked under identifier 0\n");
  if (!contract.alphabet) std::fprintf(stderr, "numbers are token ids, because the model has no alphabet\n");
  if (changed)
    std::fprintf(stderr, "%s %s puzzle\n", trm::counted(changed, "answer").c_str(),
                 changed == 1 ? "changes a given cell of its" : "change a given cell of their");
  if (late)
    std::fprintf(stderr, "the deadline ended %s; a longer one gives complete answers\n",
                 trm::counted(late, "puzzle").c_str());
  if (bad)
    std::fprintf(stderr,
                 "Error: %s: NaN or infinity ended %zu of %s; export the file again, or compare it with its "
                 "model (`trm-export parity`).\n",
                 given.files[0].c_str(), bad, trm::counted(count, "puzzle").c_str());
  return bad ? trm::NONFINITE : late ? trm::OUT_OF_TIME : changed ? trm::CHANGED_GIVENS : 0;
}

// Messages have standard output for themselves; what an engine prints goes to standard error.
int serve(const std::function<Arguments()>& arguments) {
  std::FILE* output = fdopen(dup(1), "wb");
  if (!output || dup2(2, 1) < 0) return 1;
  const trm::StepServer server(output);
  try {
    const Arguments given = arguments();
    const auto runner = trm::open_runner(given.files[0], given.threads(), given.text("--engine"));
    server.serve(*runner, std::string("trm-cpp ") + VERSION, stdin);
  } catch (const trm::Error& error) {
    server.refuse(error);
    return error.exit_code;
  } catch (const std::bad_alloc&) {
    server.refuse(trm::Error("There is not enough memory.", 1));
    return 1;
  }
  return 0;
}

int check_vectors(const Arguments& given) {
  const trm::Vectors vectors(given.files[0]);
  std::unique_ptr<trm::Runner> runner;
  if (given.files.size() > 1)
    runner = trm::open_runner(given.files[1], given.threads(), given.text("--engine"));
  std::size_t failed = 0;
  const std::size_t count = vectors.check(runner.get(), [&](const std::string& text) {
    std::cout << "FAILED " << text << '\n';
    ++failed;
  });
  std::cout << (failed ? "FAILED" : "PASSED") << ": " << count - failed << " of "
            << trm::counted(count, "case") << (runner ? " with " + runner->engine() : ", without an engine")
            << ".\n";
  return failed ? 5 : 0;
}

int report(const trm::Error& error, bool as_json, bool begun) {
  if (!as_json) {
    std::fprintf(stderr, "Error: %s\n", error.what());
    return error.exit_code;
  }
  const char* type = error.exit_code == trm::USAGE      ? "UsageError"
                     : error.exit_code == trm::MISSING  ? "MissingExtraError"
                     : error.exit_code == trm::REJECTED ? "RejectedInputError"
                                                        : "TRMError";
  std::cout << (begun ? "], " : "{") << "\"error\": {\"type\": \"" << type
            << "\", \"message\": " << trm::json_text(error.what())
            << ", \"problems\": [], \"exit_code\": " << error.exit_code << "}}" << std::endl;
  return error.exit_code;
}

}  // namespace

int main(int count, char** words) {
  const std::vector<std::string> all(words + (count ? 1 : 0), words + count);
  const auto given_word = [&](const char* word) {
    return std::find(all.begin(), all.end(), word) != all.end();
  };
  if (given_word("--serve") && !given_word("--help")) return serve([&] { return parse(all); });
  std::signal(SIGPIPE, SIG_IGN);  // a reader that goes away is no error
  bool begun = false;  // whether a JSON document is
  try {
    const Arguments given = parse(all);
    if (given.has("--help")) std::cout << HELP;
    else if (given.has("--version")) std::cout << "trm-cpp " << VERSION << '\n';
    else if (given.has("--vectors")) return check_vectors(given);
    else return solve(given, begun);
  } catch (const trm::Error& error) {
    return report(error, given_word("--json"), begun);
  } catch (const std::bad_alloc&) {
    return report(trm::Error("There is not enough memory.", 1), given_word("--json"), begun);
  }
  return 0;
}
