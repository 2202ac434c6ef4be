// ONNX files by ONNX Runtime, whose library is loaded at run time.
//
// Its C interface is a table of functions that is asked for by a version and only grows; the places
// below are those of the functions that are used here, and have been the same since its version 1.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "file.hpp"
#include "library.hpp"
#include "loop.hpp"

namespace trm {

// y = x w of integers, x (32, 4) uint8 and w (4, 31) int8: trm_runtime/tiny/products.onnx.
constexpr unsigned char PRODUCTS[] = {
    8, 8, 58, 216, 1, 10, 24, 10, 1, 120, 10, 1, 119, 18, 1, 121, 34, 13, 77, 97, 116, 77, 117, 108, 73, 110,
    116, 101, 103, 101, 114, 18, 8, 112, 114, 111, 100, 117, 99, 116, 115, 42, 135, 1, 8, 4, 8, 31, 16, 3, 66,
    1, 119, 74, 124, 193, 200, 207, 214, 221, 228, 235, 242, 249, 0, 7, 14, 21, 28, 35, 42, 49, 56, 63, 199,
    206, 213, 220, 227, 234, 241, 248, 255, 6, 13, 20, 27, 34, 41, 48, 55, 62, 198, 205, 212, 219, 226, 233,
    240, 247, 254, 5, 12, 19, 26, 33, 40, 47, 54, 61, 197, 204, 211, 218, 225, 232, 239, 246, 253, 4, 11, 18,
    25, 32, 39, 46, 53, 60, 196, 203, 210, 217, 224, 231, 238, 245, 252, 3, 10, 17, 24, 31, 38, 45, 52, 59,
    195, 202, 209, 216, 223, 230, 237, 244, 251, 2, 9, 16, 23, 30, 37, 44, 51, 58, 194, 201, 208, 215, 222,
    229, 236, 243, 250, 1, 8, 15, 22, 29, 36, 90, 19, 10, 1, 120, 18, 14, 10, 12, 8, 2, 18, 8, 10, 2, 8, 32,
    10, 2, 8, 4, 98, 19, 10, 1, 121, 18, 14, 10, 12, 8, 6, 18, 8, 10, 2, 8, 32, 10, 2, 8, 31, 66, 4, 10, 0,
    16, 17};

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
    memory_ = own<CPU_MEMORY, RELEASE_MEMORY>(0, 0);  // an allocator of the device, of the default kind
    if (this->contract().precision.rfind("int", 0) == 0) refuse_wrong_products();
    session_ = opened(bytes.data(), bytes.size(), threads);
    check<ALLOCATOR>(&allocator_);
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
  static constexpr int UINT8 = 2;  // the engine's number of it
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

  Handle opened(const void* bytes, std::size_t size, int threads) const {
    const Handle options = own<CREATE_OPTIONS, RELEASE_OPTIONS>();
    if (threads > 0) check<INTRA_OP_THREADS>(options.get(), threads);
    return own<CREATE_SESSION, RELEASE_SESSION>(env_.get(), bytes, size, options.get());
  }

  // Refuses an engine whose sums of 8-bit products are wrong, as from 1.21 to 1.24 every 32nd row is behind
  // its sixteenth column where the processor has AMX (github.com/microsoft/onnxruntime, issue 26324).
  void refuse_wrong_products() const {
    const Handle session = opened(PRODUCTS, sizeof PRODUCTS, 1);
    std::vector<std::uint8_t> rows(32 * 4);
    std::iota(rows.begin(), rows.end(), std::uint8_t{0});
    const Shape shape{32, 4};
    const Handle x = own<CREATE_TENSOR, RELEASE_VALUE>(memory_.get(), static_cast<void*>(rows.data()),
                                                       rows.size(), shape.data(), shape.size(), UINT8);
    std::vector<const char*> name{"x"}, wanted{"y"};
    std::vector<void*> given{x.get()}, found(1);
    check<RUN>(session.get(), static_cast<const void*>(nullptr), name.data(), given.data(), name.size(),
               wanted.data(), wanted.size(), found.data());
    const Handle y = released_by<RELEASE_VALUE>(found[0]);
    const Tensor sums = taken(y.get());
    for (int i = 0; i < 32 * 31; ++i) {
      int sum = 0;
      for (int k = 0; k < 4; ++k) sum += (i / 31 * 4 + k) * ((k * 31 + i % 31) * 7 % 127 - 63);
      if (element<std::int32_t>(sums.data.data(), static_cast<std::size_t>(i)) != sum) {
        throw Error("ONNX Runtime " + version_ +
                        " multiplies 8-bit integers wrongly on this processor, as 1.21 to 1.24 do where it has "
                        "AMX, and cannot run this file; use 1.25 or newer, or 1.20.",
                    MISSING);
      }
    }
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
