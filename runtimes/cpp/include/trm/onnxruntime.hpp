// ONNX files by ONNX Runtime, whose library is loaded at run time.
//
// Its C interface is a table of functions that is asked for by a version and only grows; the places
// below are those of the functions that are used here, and have been the same since its version 1.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "file.hpp"
#include "library.hpp"
#include "loop.hpp"

namespace trm {

class OnnxRunner final : public Runner {
 public:
  // `bytes` is the file; no threads: the engine's own choice.
  OnnxRunner(const std::string& bytes, Contract contract, int threads, const std::string& library)
      : Runner(std::move(contract)),
        library_(library, "TRM_ONNXRUNTIME", "libonnxruntime.so", "onnxruntime") {
    const auto* base = library_.get<const Base* (*)()>("OrtGetApiBase")();
    version_ = base->version_text();
    table_ = refuse_version(version_) ? nullptr : static_cast<void* const*>(base->table(VERSION));
    if (!table_) throw Error("ONNX Runtime " + version_ + " is too old; use 1.18 or newer.", MISSING);
    setenv("ORT_DISABLE_TELEMETRY", "1", 1);  // 1.29 and later would report the model to Microsoft
    env_ = own<CREATE_ENV, RELEASE_ENV>(3, "trm");  // 3: errors only
    const Handle options = own<CREATE_OPTIONS, RELEASE_OPTIONS>();
    if (threads > 0) check<INTRA_OP_THREADS>(options.get(), threads);
    session_ = own<CREATE_SESSION, RELEASE_SESSION>(env_.get(), bytes.data(), bytes.size(), options.get());
    check<ALLOCATOR>(&allocator_);
    memory_ = own<CPU_MEMORY, RELEASE_MEMORY>(0, 0);  // an allocator of the device, of the default kind
    check_engine(this->contract(), described<INPUT_COUNT, INPUT_NAME, INPUT_TYPE>(),
                 described<OUTPUT_COUNT, OUTPUT_NAME, OUTPUT_TYPE>());
  }

  std::string engine() const override { return "onnxruntime " + version_; }

  StepOutput call(const Tensors& inputs, const Tensors& carry) override {
    std::vector<const char*> names, wanted;
    std::vector<Handle> owned;
    std::vector<void*> given;
    for (const Tensors* tensors : {&inputs, &carry}) {
      for (const auto& [name, tensor] : *tensors) {
        names.push_back(name.c_str());
        owned.push_back(value_of(tensor));
        given.push_back(owned.back().get());
      }
    }
    for (const Spec& spec : contract().outputs) wanted.push_back(spec.name.c_str());
    for (const Spec& spec : contract().carry) wanted.push_back(spec.next.c_str());
    std::vector<void*> found(wanted.size());
    check<RUN>(session_.get(), static_cast<const void*>(nullptr), names.data(), given.data(), names.size(),
               wanted.data(), wanted.size(), found.data());
    for (void* value : found) owned.push_back(released_by<RELEASE_VALUE>(value));
    StepOutput output;
    std::size_t at = 0;
    for (const Spec& spec : contract().outputs) output.outputs[spec.name] = taken(found[at++]);
    for (const Spec& spec : contract().carry) output.carry[spec.name] = taken(found[at++]);
    return output;
  }

 private:
  static constexpr std::uint32_t VERSION = 18;
  struct Base {
    const void* (*table)(std::uint32_t);
    const char* (*version_text)();
  };
  enum Place : std::size_t {
    ERROR_MESSAGE = 2,
    CREATE_ENV = 3,
    CREATE_SESSION = 8,
    RUN = 9,
    CREATE_OPTIONS = 10,
    INTRA_OP_THREADS = 24,
    INPUT_COUNT = 30,
    OUTPUT_COUNT = 31,
    INPUT_TYPE = 33,
    OUTPUT_TYPE = 34,
    INPUT_NAME = 36,
    OUTPUT_NAME = 37,
    CREATE_TENSOR = 49,
    TENSOR_DATA = 51,
    TENSOR_INFO = 55,
    ELEMENT_TYPE = 60,
    AXES = 61,
    SIZES = 62,
    SHAPE_OF_VALUE = 65,
    CPU_MEMORY = 69,
    FREE = 76,
    ALLOCATOR = 78,
    RELEASE_ENV = 92,
    RELEASE_STATUS = 93,
    RELEASE_MEMORY = 94,
    RELEASE_SESSION = 95,
    RELEASE_VALUE = 96,
    RELEASE_TYPE = 98,
    RELEASE_SHAPE = 99,
    RELEASE_OPTIONS = 100
  };

  static bool refuse_version(const std::string& text) {
    unsigned major = 0, minor = 0;
    return std::sscanf(text.c_str(), "%u.%u", &major, &minor) != 2 || major != 1 || minor < VERSION;
  }

  // Calls a function that returns null, or a status that says what went wrong.
  template <Place PLACE, typename... Arguments>
  void check(Arguments... arguments) const {
    void* status = reinterpret_cast<void* (*)(Arguments...)>(table_[PLACE])(arguments...);
    if (!status) return;
    const std::string text = reinterpret_cast<const char* (*)(const void*)>(table_[ERROR_MESSAGE])(status);
    released_by<RELEASE_STATUS>(status);
    throw Error("ONNX Runtime refuses: " + text.substr(0, text.find('\n')) + ".");
  }

  template <Place RELEASE>
  Handle released_by(void* what) const {
    return Handle(what, reinterpret_cast<void (*)(void*)>(table_[RELEASE]));
  }

  // What such a function makes.
  template <Place CREATE, Place RELEASE, typename... Arguments>
  Handle own(Arguments... arguments) const {
    void* made = nullptr;
    check<CREATE>(arguments..., &made);
    return released_by<RELEASE>(made);
  }

  template <Place COUNT, Place NAME, Place TYPE>
  Described described() const {
    std::size_t count = 0;
    check<COUNT>(session_.get(), &count);
    Described found;
    for (std::size_t i = 0; i < count; ++i) {
      char* name = nullptr;
      check<NAME>(session_.get(), i, allocator_, &name);
      const std::string key = name;
      check<FREE>(allocator_, static_cast<void*>(name));
      const Handle type = own<TYPE, RELEASE_TYPE>(session_.get(), i);
      const void* shape = nullptr;
      check<TENSOR_INFO>(type.get(), &shape);
      found[key] = shape ? described_as(shape) : "no tensor";
    }
    return found;
  }

  std::string described_as(const void* shape) const {
    int type = 0;
    check<ELEMENT_TYPE>(shape, &type);
    for (const Dtype dtype : {Dtype::float32, Dtype::int32, Dtype::boolean, Dtype::int8}) {
      if (number_of(dtype) == type) return describe(name_of(dtype), sizes_of(shape));
    }
    return describe("type " + std::to_string(type), sizes_of(shape));
  }

  Shape sizes_of(const void* shape) const {
    std::size_t axes = 0;
    check<AXES>(shape, &axes);
    Shape sizes(axes);
    check<SIZES>(shape, sizes.data(), axes);
    return sizes;
  }

  // The engine's number of a dtype.
  static int number_of(Dtype dtype) {
    return dtype == Dtype::float32 ? 1 : dtype == Dtype::int8 ? 3 : dtype == Dtype::int32 ? 6 : 9;
  }

  // A value over the memory of a tensor, which the engine only reads.
  Handle value_of(const Tensor& tensor) const {
    return own<CREATE_TENSOR, RELEASE_VALUE>(memory_.get(), const_cast<char*>(tensor.data.data()),
                                             tensor.data.size(), tensor.shape.data(), tensor.shape.size(),
                                             number_of(tensor.dtype));
  }

  Tensor taken(void* value) const {
    const void* data = nullptr;
    int type = 0;
    const Handle shape = own<SHAPE_OF_VALUE, RELEASE_SHAPE>(value);
    check<ELEMENT_TYPE>(shape.get(), &type);
    check<TENSOR_DATA>(value, &data);
    Tensor tensor;
    for (const Dtype dtype : {Dtype::int32, Dtype::boolean, Dtype::int8}) {
      if (number_of(dtype) == type) tensor.dtype = dtype;
    }
    tensor.shape = sizes_of(shape.get());
    std::size_t bytes = size_of(tensor.dtype);
    for (const std::int64_t size : tensor.shape) bytes *= static_cast<std::size_t>(size);
    if (number_of(tensor.dtype) != type) throw Error("ONNX Runtime returned a tensor of another type.");
    tensor.data.assign(static_cast<const char*>(data), static_cast<const char*>(data) + bytes);
    return tensor;
  }

  Library library_;
  std::string version_;
  void* const* table_ = nullptr;
  Handle env_ = nothing(), session_ = nothing(), memory_ = nothing();
  void* allocator_ = nullptr;
};

}  // namespace trm
