//! A C object with one owner and one destructor.

use std::ptr::NonNull;

/// Destroys what it owns on drop.
pub(crate) struct Owned<T> {
    raw: NonNull<T>,
    destroy: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    /// `None` for null.
    ///
    /// # Safety
    /// `raw` is null, or valid for `destroy` and owned by nobody else, and stays valid until then.
    pub(crate) unsafe fn new(raw: *mut T, destroy: unsafe extern "C" fn(*mut T)) -> Option<Self> {
        NonNull::new(raw).map(|raw| Self { raw, destroy })
    }

    pub(crate) fn as_ptr(&self) -> *mut T {
        self.raw.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: promised to `new`.
        unsafe { (self.destroy)(self.raw.as_ptr()) }
    }
}
