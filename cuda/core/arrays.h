// How Python arrays reach the kernels: C-contiguous, on the CPU, exact type. Never converted: a silent copy of an
// output would leave the caller's tensor untouched.
//
// A step of a fit hands over some fifty tensors. Tensor.__dlpack__ is Python and takes two microseconds for each;
// torch's function table (`__dlpack_c_exchange_api__`, DLPack 1.3) takes a few hundredths. What has none (NumPy, older
// torch) comes by nanobind's way.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include "core/expect.h"

namespace recon {

namespace nb = nanobind;

// An argument of a bound function: a view, valid until that function returns, since the caller holds the object.
template <class T>
class array {
 public:
  using imported = nb::ndarray<T, nb::c_contig, nb::device::cpu>;

  array() = default;
  explicit array(const nb::dlpack::dltensor& t) : view_(t) {}
  explicit array(imported&& a) : owner_(std::move(a)) {
    view_.data = const_cast<std::remove_const_t<T>*>(owner_.data());
    view_.ndim = int32_t(owner_.ndim());
    view_.shape = const_cast<int64_t*>(owner_.shape_ptr());
  }

  T* data() const { return reinterpret_cast<T*>(static_cast<char*>(view_.data) + view_.byte_offset); }
  size_t ndim() const { return size_t(view_.ndim); }
  size_t shape(size_t i) const { return size_t(view_.shape[i]); }
  size_t size() const {
    size_t count = 1;
    for (int i = 0; i < view_.ndim; ++i) count *= size_t(view_.shape[i]);
    return count;
  }

 private:
  nb::dlpack::dltensor view_;
  imported owner_;  // of what came by nanobind's way
};

// DLPackExchangeAPI of dlpack.h, as far as it is used.
struct exchange_table {
  uint32_t major, minor;
  exchange_table* previous;
  void* owned[3];                                    // functions for tensors that outlive their object
  int (*view)(void* object, nb::dlpack::dltensor*);  // 0 on success; what it gives belongs to the object
};

inline const exchange_table* exchange_table_of(PyTypeObject* type) {
  PyObject* capsule = PyObject_GetAttrString(reinterpret_cast<PyObject*>(type), "__dlpack_c_exchange_api__");
  void* found = capsule ? PyCapsule_GetPointer(capsule, "dlpack_exchange_api") : nullptr;
  Py_XDECREF(capsule);
  PyErr_Clear();  // most types have none
  const auto* table = static_cast<const exchange_table*>(found);
  return table && table->major == 1 && table->view ? table : nullptr;
}

// Whether `object` could be read through its type's table. With the GIL held.
inline bool exchanged(PyObject* object, nb::dlpack::dltensor& out) {
  static PyTypeObject* known = nullptr;  // the last type that has a table: torch.Tensor
  static const exchange_table* table = nullptr;
  PyTypeObject* type = Py_TYPE(object);
  if (type != known) {
    const exchange_table* found = exchange_table_of(type);
    if (!found) return false;
    Py_INCREF(type);
    known = type;
    table = found;
  }
  if (table->view(object, &out) == 0) return true;
  PyErr_Clear();
  return false;
}

inline bool is_contiguous(const nb::dlpack::dltensor& t) {
  int64_t count = 1;
  for (int i = 0; i < t.ndim; ++i) count *= t.shape[i];
  int64_t next = 1;
  for (int i = t.ndim - 1; i >= 0 && t.strides && count > 0; --i) {
    if (t.shape[i] != 1 && t.strides[i] != next) return false;
    next *= t.shape[i];
  }
  return true;
}

}  // namespace recon

template <class T>
struct nanobind::detail::type_caster<recon::array<T>> {
  using imported = make_caster<typename recon::array<T>::imported>;
  NB_TYPE_CASTER(recon::array<T>, imported::Name)

  bool from_python(handle src, uint32_t flags, cleanup_list* cleanup) noexcept {
    dlpack::dltensor t;
    if (recon::exchanged(src.ptr(), t)) {
      value = recon::array<T>(t);
      return t.device.device_type == device::cpu::value && t.dtype == dtype<std::remove_const_t<T>>() &&
             recon::is_contiguous(t);
    }
    imported other;
    if (!other.from_python(src, flags, cleanup)) return false;
    value = recon::array<T>(std::move(other.value));
    return true;
  }
};
