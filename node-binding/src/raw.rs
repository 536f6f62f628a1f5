//! Thin helpers over raw N-API. Every call into `napi_sys` is in this file.
//!
//! Two invariants make them safe to call: a [`Js`] exists only on its environment's own thread while that environment
//! may be called and a handle scope is open (its constructor is unsafe for that reason), and a [`Value`] is used only
//! inside the scope it was made in (nothing stores one beyond a wake-up or a call).

use std::ffi::{CStr, c_void};
use std::ptr;

use napi_sys as sys;

/// The environment, inside an open handle scope.
#[derive(Clone, Copy)]
pub(crate) struct Js(sys::napi_env);

/// A JavaScript value of the current handle scope.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Value(sys::napi_value);

/// A strong reference, for as long as the environment lives.
pub(crate) struct Reference(sys::napi_ref);

/// What [`Js::call`] brought.
pub(crate) enum Called {
    /// It returned.
    Returned(Value),
    /// It threw; the exception is no longer pending.
    Threw(Value),
    /// The environment takes no more calls (a worker being terminated).
    Refused,
}

/// The type of a value, as far as the addon tells them apart.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    Missing,
    Boolean,
    Number,
    String,
    Object,
    Function,
    Other,
}

/// A native function as N-API calls it.
pub(crate) type Callback = unsafe extern "C" fn(sys::napi_env, sys::napi_callback_info) -> sys::napi_value;

impl Value {
    pub(crate) fn raw(self) -> sys::napi_value {
        self.0
    }

    /// No value: as a function's result it means `undefined`.
    pub(crate) fn none() -> Value {
        Value(ptr::null_mut())
    }

    /// # Safety
    /// `value` belongs to a handle scope that is open as long as the result is used.
    pub(crate) unsafe fn from_raw(value: sys::napi_value) -> Value {
        Value(value)
    }
}

impl Js {
    /// # Safety
    /// The caller is on the thread of `env`, which is alive, and keeps a handle scope open while the result is used.
    pub(crate) unsafe fn new(env: sys::napi_env) -> Js {
        Js(env)
    }

    pub(crate) fn env(self) -> sys::napi_env {
        self.0
    }

    // ---- reading

    /// The arguments of a call (missing ones are `undefined`) and the pointer its function was made with.
    pub(crate) fn arguments<const N: usize>(self, info: sys::napi_callback_info) -> ([Value; N], *mut c_void) {
        let mut values = [Value::none(); N];
        let mut count = N;
        let mut data = ptr::null_mut();
        // SAFETY: `values` has room for `count` values (Value is transparent);
        // N-API fills missing arguments with undefined. `info` is that of the running call.
        unsafe {
            sys::napi_get_cb_info(
                self.0,
                info,
                &mut count,
                values.as_mut_ptr().cast(),
                ptr::null_mut(),
                &mut data,
            );
        }
        (values, data)
    }

    pub(crate) fn type_of(self, value: Value) -> Type {
        let mut kind = 0;
        // SAFETY: see the module: live environment, value of an open scope. The same holds for every call below.
        if unsafe { sys::napi_typeof(self.0, value.0, &mut kind) } != sys::Status::napi_ok {
            return Type::Other;
        }
        match kind {
            sys::ValueType::napi_undefined | sys::ValueType::napi_null => Type::Missing,
            sys::ValueType::napi_boolean => Type::Boolean,
            sys::ValueType::napi_number => Type::Number,
            sys::ValueType::napi_string => Type::String,
            sys::ValueType::napi_object => Type::Object,
            sys::ValueType::napi_function => Type::Function,
            _ => Type::Other,
        }
    }

    /// A number as 32 bits signed (wrapping, as JavaScript does); `None` for anything but a number.
    pub(crate) fn get_int(self, value: Value) -> Option<i32> {
        let mut out = 0;
        // SAFETY: as above.
        (unsafe { sys::napi_get_value_int32(self.0, value.0, &mut out) } == sys::Status::napi_ok).then_some(out)
    }

    pub(crate) fn get_number(self, value: Value) -> Option<f64> {
        let mut out = 0.0;
        // SAFETY: as above.
        (unsafe { sys::napi_get_value_double(self.0, value.0, &mut out) } == sys::Status::napi_ok).then_some(out)
    }

    pub(crate) fn get_bool(self, value: Value) -> Option<bool> {
        let mut out = false;
        // SAFETY: as above.
        (unsafe { sys::napi_get_value_bool(self.0, value.0, &mut out) } == sys::Status::napi_ok).then_some(out)
    }

    /// Appends a string's UTF-8 to `out` (lone surrogates become U+FFFD). `false` for anything but a string.
    pub(crate) fn append_utf8(self, value: Value, out: &mut Vec<u8>) -> bool {
        // Most texts fit what the buffer has left: one call then tells length and bytes.
        out.reserve(256);
        let room = out.capacity() - out.len();
        let mut written = 0;
        // SAFETY: `room` bytes behind `out.len()` are the vector's own; N-API writes at most that many, a NUL included.
        let status = unsafe {
            sys::napi_get_value_string_utf8(
                self.0,
                value.0,
                out.as_mut_ptr().add(out.len()).cast(),
                room,
                &mut written,
            )
        };
        if status != sys::Status::napi_ok {
            return false;
        }
        // A text that was cut ends less than one character (4 bytes) before the NUL.
        if written + 5 > room {
            let mut length = 0;
            // SAFETY: a null buffer asks for the length alone.
            unsafe { sys::napi_get_value_string_utf8(self.0, value.0, ptr::null_mut(), 0, &mut length) };
            out.reserve(length + 1);
            // SAFETY: `length + 1` bytes were reserved.
            unsafe {
                sys::napi_get_value_string_utf8(
                    self.0,
                    value.0,
                    out.as_mut_ptr().add(out.len()).cast(),
                    length + 1,
                    &mut written,
                );
            }
        }
        // SAFETY: N-API initialized `written` bytes inside the capacity.
        unsafe { out.set_len(out.len() + written) };
        true
    }

    pub(crate) fn get_string(self, value: Value) -> Option<String> {
        let mut out = Vec::new();
        if !self.append_utf8(value, &mut out) {
            return None;
        }
        String::from_utf8(out).ok()
    }

    /// A Buffer with a copy of these bytes.
    pub(crate) fn buffer(self, bytes: &[u8]) -> Value {
        let (mut data, mut out) = (ptr::null_mut(), Value::none().0);
        // SAFETY: N-API copies the bytes before it returns; a failure leaves `out` as it is, which is no value.
        unsafe { sys::napi_create_buffer_copy(self.0, bytes.len(), bytes.as_ptr().cast(), &mut data, &mut out) };
        Value(out)
    }

    /// The bytes of a Buffer, TypedArray or DataView: its own window only.
    ///
    /// The slice must not be used after JavaScript ran again (it could detach the memory).
    pub(crate) fn bytes<'a>(self, value: Value) -> Option<&'a [u8]> {
        let (mut data, mut length) = (ptr::null_mut(), 0);
        let (mut is_typed, mut is_view) = (false, false);
        // SAFETY: as above; the queries tell which of the two getters fits.
        unsafe {
            sys::napi_is_typedarray(self.0, value.0, &mut is_typed);
            if is_typed {
                let mut kind = 0;
                let status = sys::napi_get_typedarray_info(
                    self.0,
                    value.0,
                    &mut kind,
                    &mut length,
                    &mut data,
                    ptr::null_mut(),
                    ptr::null_mut(),
                );
                if status != sys::Status::napi_ok {
                    return None;
                }
                length *= element_size(kind);
            } else {
                sys::napi_is_dataview(self.0, value.0, &mut is_view);
                if !is_view {
                    return None;
                }
                let status = sys::napi_get_dataview_info(
                    self.0,
                    value.0,
                    &mut length,
                    &mut data,
                    ptr::null_mut(),
                    ptr::null_mut(),
                );
                if status != sys::Status::napi_ok {
                    return None;
                }
            }
        }
        if length == 0 || data.is_null() {
            return Some(&[]);
        }
        // SAFETY: N-API gave address and length of the view's memory, which its buffer owns; the caller keeps to the
        // rule above.
        Some(unsafe { std::slice::from_raw_parts(data.cast(), length) })
    }

    /// Address and element count of an Int32Array.
    pub(crate) fn int32_array(self, value: Value) -> Option<(*mut i32, usize)> {
        let (mut kind, mut length, mut data) = (0, 0, ptr::null_mut());
        // SAFETY: as above.
        let status = unsafe {
            sys::napi_get_typedarray_info(
                self.0,
                value.0,
                &mut kind,
                &mut length,
                &mut data,
                ptr::null_mut(),
                ptr::null_mut(),
            )
        };
        (status == sys::Status::napi_ok && kind == sys::TypedarrayType::int32_array && !data.is_null())
            .then_some((data.cast(), length))
    }

    pub(crate) fn is_array(self, value: Value) -> bool {
        let mut out = false;
        // SAFETY: as above.
        unsafe { sys::napi_is_array(self.0, value.0, &mut out) };
        out
    }

    pub(crate) fn length(self, array: Value) -> u32 {
        let mut out = 0;
        // SAFETY: as above; not an array: 0.
        unsafe { sys::napi_get_array_length(self.0, array.0, &mut out) };
        out
    }

    pub(crate) fn element(self, array: Value, index: u32) -> Value {
        let mut out = ptr::null_mut();
        // SAFETY: as above.
        if unsafe { sys::napi_get_element(self.0, array.0, index, &mut out) } != sys::Status::napi_ok {
            return self.undefined();
        }
        Value(out)
    }

    /// A property, `undefined` where it cannot be read.
    pub(crate) fn property(self, object: Value, name: &CStr) -> Value {
        let mut out = ptr::null_mut();
        // SAFETY: as above; `name` is NUL-terminated.
        if unsafe { sys::napi_get_named_property(self.0, object.0, name.as_ptr(), &mut out) } != sys::Status::napi_ok {
            return self.undefined();
        }
        Value(out)
    }

    /// A property by a key that is a value.
    pub(crate) fn property_of(self, object: Value, key: Value) -> Value {
        let mut out = ptr::null_mut();
        // SAFETY: as above.
        if unsafe { sys::napi_get_property(self.0, object.0, key.0, &mut out) } != sys::Status::napi_ok {
            return self.undefined();
        }
        Value(out)
    }

    /// The names of an object's enumerable properties, as an array.
    pub(crate) fn property_names(self, object: Value) -> Option<Value> {
        let mut out = ptr::null_mut();
        // SAFETY: as above.
        (unsafe { sys::napi_get_property_names(self.0, object.0, &mut out) } == sys::Status::napi_ok)
            .then_some(Value(out))
    }

    // ---- making

    pub(crate) fn undefined(self) -> Value {
        let mut out = ptr::null_mut();
        // SAFETY: as above.
        unsafe { sys::napi_get_undefined(self.0, &mut out) };
        Value(out)
    }

    pub(crate) fn null(self) -> Value {
        let mut out = ptr::null_mut();
        // SAFETY: as above.
        unsafe { sys::napi_get_null(self.0, &mut out) };
        Value(out)
    }

    pub(crate) fn int(self, number: i32) -> Value {
        let mut out = ptr::null_mut();
        // SAFETY: as above.
        unsafe { sys::napi_create_int32(self.0, number, &mut out) };
        Value(out)
    }

    pub(crate) fn number(self, number: f64) -> Value {
        let mut out = ptr::null_mut();
        // SAFETY: as above.
        unsafe { sys::napi_create_double(self.0, number, &mut out) };
        Value(out)
    }

    pub(crate) fn bool(self, value: bool) -> Value {
        let mut out = ptr::null_mut();
        // SAFETY: as above.
        unsafe { sys::napi_get_boolean(self.0, value, &mut out) };
        Value(out)
    }

    /// A string; `undefined` where it cannot be made (longer than V8 allows).
    pub(crate) fn string(self, text: &str) -> Value {
        let mut out = ptr::null_mut();
        // SAFETY: as above; N-API copies `text.len()` bytes.
        let status =
            unsafe { sys::napi_create_string_utf8(self.0, text.as_ptr().cast(), text.len() as isize, &mut out) };
        self.or_undefined(status, out)
    }

    /// A string of one byte a unit.
    pub(crate) fn latin1(self, units: &[u8]) -> Value {
        let mut out = ptr::null_mut();
        // SAFETY: as above.
        let status =
            unsafe { sys::napi_create_string_latin1(self.0, units.as_ptr().cast(), units.len() as isize, &mut out) };
        self.or_undefined(status, out)
    }

    /// A string of UTF-16 code units.
    pub(crate) fn utf16(self, units: &[u16]) -> Value {
        let mut out = ptr::null_mut();
        // SAFETY: as above.
        let status = unsafe { sys::napi_create_string_utf16(self.0, units.as_ptr(), units.len() as isize, &mut out) };
        self.or_undefined(status, out)
    }

    fn or_undefined(self, status: sys::napi_status, value: sys::napi_value) -> Value {
        if status == sys::Status::napi_ok && !value.is_null() {
            Value(value)
        } else {
            self.undefined()
        }
    }

    pub(crate) fn object(self) -> Value {
        let mut out = ptr::null_mut();
        // SAFETY: as above.
        unsafe { sys::napi_create_object(self.0, &mut out) };
        Value(out)
    }

    pub(crate) fn array(self, items: &[Value]) -> Value {
        let mut out = ptr::null_mut();
        // SAFETY: as above.
        unsafe { sys::napi_create_array_with_length(self.0, items.len(), &mut out) };
        for (index, item) in (0u32..).zip(items) {
            // SAFETY: as above.
            unsafe { sys::napi_set_element(self.0, out, index, item.0) };
        }
        Value(out)
    }

    pub(crate) fn set(self, object: Value, name: &CStr, value: Value) {
        // SAFETY: as above.
        unsafe { sys::napi_set_named_property(self.0, object.0, name.as_ptr(), value.0) };
    }

    /// A function that gets `data` with each call; `data` must outlive the environment's last call into JavaScript.
    pub(crate) fn function(self, name: &CStr, callback: Callback, data: *mut c_void) -> Value {
        let mut out = ptr::null_mut();
        // SAFETY: as above; -1 = NUL-terminated name.
        unsafe { sys::napi_create_function(self.0, name.as_ptr(), -1, Some(callback), data, &mut out) };
        Value(out)
    }

    /// Leaves a TypeError pending: the running native function must return now.
    pub(crate) fn throw_type_error(self, message: &str) {
        // The message goes through a JS string, so that a NUL in it does no harm.
        let (mut error, text) = (ptr::null_mut(), self.string(message));
        // SAFETY: as above.
        unsafe {
            if sys::napi_create_type_error(self.0, ptr::null_mut(), text.0, &mut error) == sys::Status::napi_ok {
                sys::napi_throw(self.0, error);
            }
        }
    }

    /// An Error object.
    pub(crate) fn error(self, message: &str) -> Value {
        let (mut error, text) = (ptr::null_mut(), self.string(message));
        // SAFETY: as above.
        unsafe { sys::napi_create_error(self.0, ptr::null_mut(), text.0, &mut error) };
        Value(error)
    }

    // ---- calling

    /// Calls a function. Must not be called with anything of the addon borrowed: it may come back in.
    pub(crate) fn call(self, this: Value, function: Value, arguments: &[Value]) -> Called {
        let mut out = ptr::null_mut();
        // SAFETY: as above; Value is transparent.
        let status = unsafe {
            sys::napi_call_function(
                self.0,
                this.0,
                function.0,
                arguments.len(),
                arguments.as_ptr().cast(),
                &mut out,
            )
        };
        if status == sys::Status::napi_ok {
            return Called::Returned(Value(out));
        }
        let mut pending = false;
        let mut error = ptr::null_mut();
        // SAFETY: as above.
        unsafe {
            sys::napi_is_exception_pending(self.0, &mut pending);
            if pending && sys::napi_get_and_clear_last_exception(self.0, &mut error) == sys::Status::napi_ok {
                return Called::Threw(Value(error));
            }
        }
        Called::Refused
    }

    /// Raises `uncaughtException`, as a throw in any other callback of the loop does.
    pub(crate) fn fatal(self, error: Value) {
        // SAFETY: as above; refused (harmlessly) where the environment takes no more calls.
        unsafe { sys::napi_fatal_exception(self.0, error.0) };
    }

    // ---- keeping

    pub(crate) fn reference(self, value: Value) -> Option<Reference> {
        let mut out = ptr::null_mut();
        // SAFETY: as above.
        (unsafe { sys::napi_create_reference(self.0, value.0, 1, &mut out) } == sys::Status::napi_ok)
            .then_some(Reference(out))
    }

    /// What a reference holds.
    pub(crate) fn get(self, reference: &Reference) -> Value {
        let mut out = ptr::null_mut();
        // SAFETY: as above; references live as long as the environment.
        unsafe { sys::napi_get_reference_value(self.0, reference.0, &mut out) };
        Value(out)
    }

    /// # Safety
    /// The reference is not used afterwards.
    pub(crate) unsafe fn release(self, reference: &Reference) {
        // SAFETY: as above; released once by the caller's word.
        unsafe { sys::napi_delete_reference(self.0, reference.0) };
    }

    /// The environment's loop.
    pub(crate) fn uv_loop(self) -> *mut sys::uv_loop_s {
        let mut out = ptr::null_mut();
        // SAFETY: as above.
        unsafe { sys::napi_get_uv_event_loop(self.0, &mut out) };
        out
    }
}

fn element_size(kind: sys::napi_typedarray_type) -> usize {
    use sys::TypedarrayType as T;
    match kind {
        T::int16_array | T::uint16_array => 2,
        T::int32_array | T::uint32_array | T::float32_array => 4,
        T::float64_array | T::bigint64_array | T::biguint64_array => 8,
        _ => 1,
    }
}

// ---- scopes: opened where the loop calls the addon

/// The async context of an environment's wake-ups.
pub(crate) struct Context(sys::napi_async_context);

impl Context {
    pub(crate) fn new(js: Js) -> Option<Context> {
        let mut out = ptr::null_mut();
        let name = js.string("HEYS_DB");
        // SAFETY: as above; without a resource object N-API makes and keeps one.
        (unsafe { sys::napi_async_init(js.0, ptr::null_mut(), name.0, &mut out) } == sys::Status::napi_ok)
            .then_some(Context(out))
    }

    /// # Safety
    /// On the thread of `env`, which is alive; the context is not used afterwards.
    pub(crate) unsafe fn destroy(&self, env: sys::napi_env) {
        // SAFETY: the caller's.
        unsafe { sys::napi_async_destroy(env, self.0) };
    }
}

/// A handle scope opened from the loop.
pub(crate) struct HandleScope(sys::napi_env, sys::napi_handle_scope);

impl HandleScope {
    /// # Safety
    /// On the thread of `env`, which is alive and stays so until the scope is dropped.
    pub(crate) unsafe fn open(env: sys::napi_env) -> HandleScope {
        let mut out = ptr::null_mut();
        // SAFETY: the caller's.
        unsafe { sys::napi_open_handle_scope(env, &mut out) };
        HandleScope(env, out)
    }

    pub(crate) fn js(&self) -> Js {
        Js(self.0)
    }
}

impl Drop for HandleScope {
    fn drop(&mut self) {
        if !self.1.is_null() {
            // SAFETY: opened by `open`, closed once.
            unsafe { sys::napi_close_handle_scope(self.0, self.1) };
        }
    }
}

/// A callback scope: when it closes, `process.nextTick` callbacks and microtasks run.
pub(crate) struct CallbackScope(sys::napi_env, sys::napi_callback_scope);

impl CallbackScope {
    pub(crate) fn open(js: Js, context: &Context) -> Option<CallbackScope> {
        let mut out = ptr::null_mut();
        // SAFETY: see the module. The resource object is ignored (documented as such), but must be a value.
        let status = unsafe { sys::napi_open_callback_scope(js.0, js.undefined().0, context.0, &mut out) };
        (status == sys::Status::napi_ok).then_some(CallbackScope(js.0, out))
    }
}

impl Drop for CallbackScope {
    fn drop(&mut self) {
        // SAFETY: opened by `open`, closed once, innermost first.
        unsafe { sys::napi_close_callback_scope(self.0, self.1) };
    }
}
