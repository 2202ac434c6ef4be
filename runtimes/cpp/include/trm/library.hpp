// An engine's shared library, loaded at run time, and the comparison of an engine with its contract.
#pragma once

#include <dlfcn.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <string>

#include "contract.hpp"

namespace trm {

class Library {
 public:
  // `given` is a path, or else the variable of the environment names one, or else the system has it.
  Library(const std::string& given, const char* variable, const char* usual, const char* package) {
    const char* set = std::getenv(variable);
    const std::string path = !given.empty() ? given : set && *set ? set : usual;
    handle_ = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle_) return;
    const char* why = dlerror();
    throw Error(std::string(why ? why : path) + "; name the library with --engine or " + variable +
                    " (the wheel " + package + " has one).",
                MISSING);
  }

  // The function or value of that name.
  template <typename T>
  T get(const char* name) const {
    void* found = dlsym(handle_, name);
    if (!found)
      throw Error(std::string("The library of the engine has no ") + name + "; use a newer one.", MISSING);
    return reinterpret_cast<T>(found);
  }

 private:
  void* handle_;  // never closed: engines leave threads behind
};

// Sends what an engine prints nowhere, while it exists.
class Quiet {
 public:
  Quiet() : kept_(dup(2)) {
    const int nowhere = ::open("/dev/null", O_WRONLY);
    if (nowhere < 0) return;
    dup2(nowhere, 2);
    close(nowhere);
  }
  ~Quiet() {
    if (kept_ < 0) return;
    dup2(kept_, 2);
    close(kept_);
  }
  Quiet(const Quiet&) = delete;
  Quiet& operator=(const Quiet&) = delete;

 private:
  int kept_;
};

// An object of an engine, and the function that releases it.
using Handle = std::unique_ptr<void, void (*)(void*)>;

inline Handle nothing() {
  return Handle(nullptr, [](void*) {});
}

// What an engine says of its tensors: name to dtype and shape in words.
using Described = std::map<std::string, std::string>;

inline std::string describe(const std::string& dtype, const Shape& shape) {
  return dtype + " " + text_of(shape);
}

// Refuses an engine whose tensors are not those of the contract, with every difference.
inline void check_engine(const Contract& contract, const Described& inputs, const Described& outputs) {
  Described wanted_inputs, wanted_outputs;
  for (const Spec& spec : contract.inputs)
    wanted_inputs[spec.name] = describe(name_of(spec.dtype), spec.shape);
  for (const Spec& spec : contract.outputs)
    wanted_outputs[spec.name] = describe(name_of(spec.dtype), spec.shape);
  for (const Spec& spec : contract.carry) {
    wanted_inputs[spec.name] = wanted_outputs[spec.next] = describe(name_of(spec.dtype), spec.shape);
  }
  Problems problems;
  const auto compare = [&](const Described& wanted, const Described& found) {
    for (const auto& [name, text] : found) {
      if (!wanted.count(name)) problems.push_back(name + ": the contract lacks it");
    }
    for (const auto& [name, text] : wanted) {
      const auto place = found.find(name);
      if (place == found.end()) problems.push_back(name + ": the engine lacks it");
      else if (place->second != text)
        problems.push_back(name + ": expected " + text + ", got " + place->second);
    }
  };
  compare(wanted_inputs, inputs);
  compare(wanted_outputs, outputs);
  refuse_if(problems, "The file differs from its step contract:");
}

}  // namespace trm
