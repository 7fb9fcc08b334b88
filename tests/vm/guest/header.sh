#!/bin/sh
# The header of a Pi 4: 58 lines, those on the header pulled up as switches to ground need it, and a board revision,
# which is how gpiozero knows its pins.
set -e
board=/sys/kernel/config/gpio-sim/pi
mkdir -p $board/bank0
echo 58 >$board/bank0/num_lines
echo pinctrl-bcm2711 >$board/bank0/label
for n in $(seq 0 27); do
    mkdir $board/bank0/line"$n"
    echo GPIO"$n" >$board/bank0/line"$n"/name
done
echo 1 >$board/live
lines=/sys/devices/platform/$(cat $board/dev_name)/$(cat $board/bank0/chip_name)
for n in $(seq 0 27); do echo pull-up >"$lines"/sim_gpio"$n"/pull; done
ln -s "$lines" /run/header
{ cat /proc/cpuinfo; printf 'Hardware\t: BCM2835\nRevision\t: c03114\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n'; } >/run/cpuinfo
mount --bind /run/cpuinfo /proc/cpuinfo
udevadm wait --timeout=90 /dev/gpiochip0
