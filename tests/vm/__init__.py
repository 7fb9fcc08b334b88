"""The virtual box: the appliance as installed, in QEMU without KVM, driven from outside. `./dev vm --help`.

    virtual header   gpio-sim lines that look like a Pi 4's           guest.turn(10), guest.press("play")
    virtual display  an I2C adapter that logs what it was sent        guest.i2c.log(), guest.i2c.fail(errno)
    virtual drives   USB sticks, plugged and pulled through QMP       guest.plug(image), guest.pull(name)
    virtual sound    ALSA's loopback card, recorded in the guest      guest.record(), samples as float32

What is built is kept in ${XDG_CACHE_HOME:-~/.cache}/chadbox-vm, and only what is missing or was changed is built again:

    archives -> QEMU, kernel modules, a Debian tree (once) -> the tree with chadbox put in by `./dev install`
"""
