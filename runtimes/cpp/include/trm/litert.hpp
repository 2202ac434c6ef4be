// TFLite files by LiteRT (its C interface of version 2), whose library is loaded at run time.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "file.hpp"
#include "library.hpp"
#include "loop.hpp"

namespace trm {

class LitertRunner final : public Runner {
 public:
  // `bytes` is the file, which is kept; no threads: the engine's own choice.
  LitertRunner(std::string bytes, Contract contract, int threads, const std::string& library)
      : Runner(std::move(contract)),
        bytes_(std::move(bytes)),
        library_(library, "TRM_LITERT", "libLiteRt.so", "ai-edge-litert") {
    if (this->contract().is_dynamic()) {  // what has been resized has wrong results in LiteRT 2.3
      throw Error("LiteRT takes a fixed batch by its C interface; export the model with --batch 1.");
    }
    environment_ =
        own("LiteRtCreateEnvironment", "LiteRtDestroyEnvironment", 0, static_cast<const void*>(nullptr));
    model_ = own("LiteRtCreateModelFromBuffer", "LiteRtDestroyModel", environment_.get(), bytes_.data(),
                 bytes_.size());
    find_signature();
    check_engine(this->contract(), described(INPUT), described(OUTPUT));
    compile(threads);
    prepare();
    run_ = library_.get<decltype(run_)>("LiteRtRunCompiledModel");
  }

  ~LitertRunner() override {
    const Quiet quiet;  // it logs what it releases
    for (auto& ports : ports_) ports.clear();
    compiled_.reset();
    model_.reset();
    environment_.reset();
  }

  std::string engine() const override { return "LiteRT 2"; }

  StepOutput call(const Tensors& inputs, const Tensors& carry) override {
    for (const Port& port : ports_[INPUT]) {
      const auto found = inputs.find(port.name);
      const Tensor& tensor = found == inputs.end() ? carry.at(port.name) : found->second;
      copy(port, const_cast<char*>(tensor.data.data()), tensor.data.size());
    }
    std::vector<void*> buffers[2];
    for (const int side : {INPUT, OUTPUT}) {
      for (const Port& port : ports_[side]) buffers[side].push_back(port.buffer.get());
    }
    refuse(run_(compiled_.get(), signature_, buffers[INPUT].size(), buffers[INPUT].data(),
                buffers[OUTPUT].size(), buffers[OUTPUT].data()),
           "LiteRtRunCompiledModel");
    StepOutput output;
    for (const Spec& spec : contract().outputs) output.outputs[spec.name] = taken(spec.name, spec);
    for (const Spec& spec : contract().carry) output.carry[spec.name] = taken(spec.next, spec);
    return output;
  }

 private:
  enum Side { INPUT, OUTPUT };
  static constexpr int HOST_MEMORY = 1, READ = 0, WRITE = 1, CPU = 1;

  // A ranked tensor type of its C interface: an element type, and a layout whose first word has the
  // number of axes in its lower 7 bits.
  struct Type {
    std::int32_t element = 0;
    std::uint32_t rank = 0;
    std::int32_t sizes[8] = {};
    std::uint32_t strides[8] = {};
  };
  static_assert(sizeof(Type) == 72, "a type has 72 bytes in LiteRT");

  struct Port {
    std::string name;
    Type type;
    Handle buffer = nothing();
  };

  void refuse(int status, const std::string& what) const {
    if (status) throw Error("LiteRT refuses the file: " + what + " returned " + std::to_string(status) + ".");
  }

  // Calls a function that returns a status.
  template <typename... Arguments>
  void check(const char* name, Arguments... arguments) const {
    refuse(library_.get<int (*)(Arguments...)>(name)(arguments...), name);
  }

  // What such a function makes.
  template <typename... Arguments>
  Handle own(const char* create, const char* destroy, Arguments... arguments) const {
    void* made = nullptr;
    const auto release = library_.get<void (*)(void*)>(destroy);
    check(create, arguments..., &made);
    return Handle(made, release);
  }

  // The signature of the contract, and its tensors in the engine's order.
  void find_signature() {
    std::size_t count = 0;
    check("LiteRtGetNumModelSignatures", model_.get(), &count);
    const std::string wanted = "act_" + contract().granularity;
    for (std::size_t i = 0; i < count; ++i) {
      void* signature = nullptr;
      const char* key = nullptr;
      check("LiteRtGetModelSignature", model_.get(), i, &signature);
      check("LiteRtGetSignatureKey", signature, &key);
      if (wanted != key) continue;
      signature_ = i;
      ports_[INPUT] = read_ports(signature, "Input");
      ports_[OUTPUT] = read_ports(signature, "Output");
      return;
    }
    throw Error("The file has no signature " + wanted + ".");
  }

  std::vector<Port> read_ports(void* signature, const std::string& side) const {
    std::size_t count = 0;
    check(("LiteRtGetNumSignature" + side + "s").c_str(), signature, &count);
    std::vector<Port> ports(count);
    for (std::size_t i = 0; i < count; ++i) {
      const char* name = nullptr;
      void* tensor = nullptr;
      check(("LiteRtGetSignature" + side + "Name").c_str(), signature, i, &name);
      check(("LiteRtGetSignature" + side + "TensorByIndex").c_str(), signature, i, &tensor);
      check("LiteRtGetRankedTensorType", tensor, &ports[i].type);
      ports[i].name = name;
    }
    return ports;
  }

  Described described(Side side) const {
    Described found;
    for (const Port& port : ports_[side]) {
      const std::size_t axes = port.type.rank & 0x7F;
      if (axes > 8) throw Error("A tensor of the file has more than 8 axes.");
      const Shape shape(port.type.sizes, port.type.sizes + axes);
      const int type = port.type.element;
      const char* dtype = type == 1   ? "float32"
                          : type == 2 ? "int32"
                          : type == 6 ? "bool"
                          : type == 9 ? "int8"
                                      : "another dtype";
      found[port.name] = describe(dtype, shape);
    }
    return found;
  }

  void compile(int threads) {
    const Handle options = own("LiteRtCreateOptions", "LiteRtDestroyOptions");
    check("LiteRtSetOptionsHardwareAccelerators", options.get(), CPU);
    if (threads > 0) {
      const std::string text = "num_threads = " + std::to_string(threads) + "\n";
      void* payload = std::malloc(text.size() + 1);
      void* opaque = nullptr;
      if (!payload) throw Error("There is not enough memory.", 1);
      std::memcpy(payload, text.c_str(), text.size() + 1);
      check("LiteRtCreateOpaqueOptions", "xnnpack", payload, &std::free, &opaque);
      check("LiteRtAddOpaqueOptions", options.get(), opaque);  // which owns it now
    }
    compiled_ = own("LiteRtCreateCompiledModel", "LiteRtDestroyCompiledModel", environment_.get(),
                    model_.get(), options.get());
  }

  // A buffer for every tensor.
  void prepare() {
    for (auto& ports : ports_) {
      for (Port& port : ports) {
        std::size_t bytes = port.type.element == 1 || port.type.element == 2 ? 4 : 1;
        for (std::size_t axis = 0; axis < (port.type.rank & 0x7F); ++axis) {
          bytes *= static_cast<std::size_t>(port.type.sizes[axis]);
        }
        port.buffer = own("LiteRtCreateManagedTensorBuffer", "LiteRtDestroyTensorBuffer", environment_.get(),
                          HOST_MEMORY, static_cast<const Type*>(&port.type), bytes);
      }
    }
  }

  // Copies `data` into the buffer of an input, or the buffer of an output into `data`.
  void copy(const Port& port, char* data, std::size_t size, int mode = WRITE) const {
    void* memory = nullptr;
    std::size_t bytes = 0;
    check("LiteRtGetTensorBufferPackedSize", port.buffer.get(), &bytes);
    if (bytes != size) throw Error(port.name + ": LiteRT has a buffer of another size.");
    check("LiteRtLockTensorBuffer", port.buffer.get(), &memory, mode);
    if (mode == WRITE) std::memcpy(memory, data, size);
    else std::memcpy(data, memory, size);
    check("LiteRtUnlockTensorBuffer", port.buffer.get());
  }

  Tensor taken(const std::string& name, const Spec& spec) const {
    Tensor tensor = empty_tensor(spec, static_cast<std::size_t>(contract().batch));
    for (const Port& port : ports_[OUTPUT]) {
      if (port.name == name) copy(port, tensor.data.data(), tensor.data.size(), READ);
    }
    return tensor;
  }

  std::string bytes_;
  Library library_;
  Handle environment_ = nothing(), model_ = nothing(), compiled_ = nothing();
  int (*run_)(void*, std::size_t, std::size_t, void**, std::size_t, void**) = nullptr;
  std::size_t signature_ = 0;
  std::vector<Port> ports_[2];
};

}  // namespace trm
