//! Builds the kernel module that Debian leaves out, from Debian's own source and headers: `gpio-sim`, a GPIO chip whose
//! lines are pulled through sysfs.
//!
//! Built once for a kernel and kept in the cache. Nothing is installed on the host.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    TestbedError, debian,
    host::{cache, make_folder, output, read, write_whole},
};

/// The module's name, also in the cache.
pub(crate) const GPIO_SIM: &str = "gpio-sim";

/// Source of a kernel of the same series: drivers of a later patch level compile with earlier headers.
const SOURCE: &str = "linux-source-6.12";
const DRIVER: &str = "linux-source-6.12/drivers/gpio/gpio-sim.c";
/// Interrupts of simulated lines; this kernel has them neither built in nor as a module.
const INTERRUPTS: &str = "linux-source-6.12/kernel/irq/irq_sim.c";

/// The module is made of two files, of which none may have its name.
const KBUILD: &str = "obj-m := gpio-sim.o\ngpio-sim-y := driver.o irq_sim.o\n";

/// Modules that were built here.
pub(crate) fn folder() -> PathBuf {
    cache().join("modules")
}

/// Builds the module for the kernel of this version, such as `6.12.117+deb12-arm64`, unless it is there. The caller holds
/// the cache's lock.
pub(crate) fn gpio_sim(version: &str) -> Result<(), TestbedError> {
    let module = folder().join(format!("{GPIO_SIM}.ko"));
    let built_for = folder().join(format!("{GPIO_SIM}.kernel"));
    if module.is_file() && fs::read_to_string(&built_for).is_ok_and(|text| text == version) {
        return Ok(());
    }
    let work = cache().join("modules.work");
    if work.exists() {
        fs::remove_dir_all(&work).map_err(TestbedError::file("remove", &work))?;
    }
    make_folder(&work)?;
    make_folder(&folder())?;
    let headers = headers(&work, version)?;
    sources(&work)?;
    let here = format!("M={}", work.join("module").display());
    let arguments = ["-C", &headers.to_string_lossy(), &here, "ARCH=arm64"];
    output(&work, "make", &[&arguments[..], &["CROSS_COMPILE=aarch64-linux-gnu-", "modules"]].concat())?;
    let built = work.join(format!("module/{GPIO_SIM}.ko"));
    // Without what only a debugger reads, which is most of it.
    output(&work, "aarch64-linux-gnu-strip", &["--strip-debug", &built.to_string_lossy()])?;
    write_whole(&module, &read(&built)?)?;
    write_whole(&built_for, version.as_bytes())?;
    fs::remove_dir_all(&work).map_err(TestbedError::file("remove", &work))
}

/// Puts the kernel's headers together as they lie when they are installed, and gives the folder to build with.
fn headers(work: &Path, version: &str) -> Result<PathBuf, TestbedError> {
    let (base, _) = version.rsplit_once('-').unwrap_or((version, ""));
    let packages = [
        format!("linux-headers-{version}:arm64"),
        format!("linux-headers-{base}-common"),
        // Programs that run here, whatever is built.
        format!("linux-kbuild-{base}"),
    ];
    let root = work.join("headers");
    make_folder(&root)?;
    for package in packages {
        let from = format!("{}/.", debian::unpacked(&package)?.display());
        output(work, "cp", &["-a", &from, &root.to_string_lossy()])?;
    }
    let headers = root.join(format!("usr/src/linux-headers-{version}"));
    let makefile = headers.join("Makefile");
    let text = String::from_utf8_lossy(&read(&makefile)?).into_owned();
    let text = text.replace("/usr/src/", &format!("{}/usr/src/", root.display()));
    fs::write(&makefile, text).map_err(TestbedError::file("write", &makefile))?;
    // With it the build would want a program for type information that no test reads.
    let vmlinux = headers.join("vmlinux");
    if vmlinux.exists() {
        fs::remove_file(&vmlinux).map_err(TestbedError::file("remove", &vmlinux))?;
    }
    Ok(headers)
}

/// Takes the two files out of the kernel's source.
fn sources(work: &Path) -> Result<(), TestbedError> {
    let module = work.join("module");
    make_folder(&module)?;
    let archive = debian::unpacked(SOURCE)?.join(format!("usr/src/{SOURCE}.tar.xz"));
    output(work, "tar", &["-xJf", &archive.to_string_lossy(), DRIVER, INTERRUPTS])?;
    let text = |path: &str| read(&work.join(path)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    // `irq_to_desc` is not for modules; this function finds the descriptor itself.
    let interrupts =
        text(INTERRUPTS)?.replace("handle_simple_irq(irq_to_desc(irqnum))", "generic_handle_irq(irqnum)");
    for (name, content) in
        [("driver.c", text(DRIVER)?), ("irq_sim.c", interrupts), ("Kbuild", KBUILD.to_owned())]
    {
        let path = module.join(name);
        fs::write(&path, content).map_err(TestbedError::file("write", &path))?;
    }
    Ok(())
}
