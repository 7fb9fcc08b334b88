// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/i2c-1 with nothing behind it but a log: each message that an address of `acks` takes becomes a line
 * "microseconds address W|R length bytes-in-hex" of /dev/i2c-wire-log; writing to the log empties it.
 *
 * Parameters, all in /sys/module/i2c_wire/parameters and changed at any time:
 *   acks      addresses that answer; the others give EREMOTEIO, as the Pi's own adapter does
 *   byte_us   time a byte takes on the wire (23: 400 kHz)
 *   fail      errno with which every transfer fails, 0 for none
 *   stall_ms  time that a failing transfer takes to do so (a wedged bus: fail=110 stall_ms=1000)
 */
#include <linux/delay.h>
#include <linux/fs.h>
#include <linux/i2c.h>
#include <linux/ktime.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#define LOG_SIZE (8UL << 20)

static ushort acks[8] = { 0x3c };
static int nacks = 1;
static uint byte_us, fail, stall_ms;
module_param_array(acks, ushort, &nacks, 0644);
module_param(byte_us, uint, 0644);
module_param(fail, uint, 0644);
module_param(stall_ms, uint, 0644);

static char *wire_log;
static size_t used;
static DEFINE_MUTEX(lock);

static bool answers(u16 address)
{
	int i;

	for (i = 0; i < nacks; i++)
		if (acks[i] == address)
			return true;
	return false;
}

static void note(const struct i2c_msg *msg)
{
	int i;

	/* a line is whole or not there: a reader never sees half a message */
	if (used + 48 + 2 * msg->len > LOG_SIZE)
		return;
	used += scnprintf(wire_log + used, 48, "%lld %02x %c %u ", ktime_to_us(ktime_get()), msg->addr,
			  msg->flags & I2C_M_RD ? 'R' : 'W', msg->len);
	for (i = 0; i < msg->len; i++)
		used += scnprintf(wire_log + used, 3, "%02x", msg->buf[i]);
	wire_log[used++] = '\n';
}

static int wire_xfer(struct i2c_adapter *adapter, struct i2c_msg *msgs, int count)
{
	int i;

	for (i = 0; i < count; i++) {
		if (fail) {
			if (stall_ms)
				msleep(stall_ms);
			return -(int)fail;
		}
		if (!answers(msgs[i].addr))
			return -EREMOTEIO;
		if (msgs[i].flags & I2C_M_RD)
			memset(msgs[i].buf, 0, msgs[i].len);
		if (byte_us)
			fsleep((msgs[i].len + 1) * byte_us);
		mutex_lock(&lock);
		note(&msgs[i]);
		mutex_unlock(&lock);
	}
	return count;
}

static u32 wire_functionality(struct i2c_adapter *adapter)
{
	return I2C_FUNC_I2C | I2C_FUNC_SMBUS_EMUL;
}

static const struct i2c_algorithm wire_algorithm = {
	.master_xfer = wire_xfer,
	.functionality = wire_functionality,
};

static struct i2c_adapter wire_adapter = {
	.owner = THIS_MODULE,
	.algo = &wire_algorithm,
	.name = "bcm2835 (i2c@7e804000)",
	.nr = 1,
};

static ssize_t log_read(struct file *file, char __user *to, size_t size, loff_t *at)
{
	ssize_t done;

	mutex_lock(&lock);
	done = simple_read_from_buffer(to, size, at, wire_log, used);
	mutex_unlock(&lock);
	return done;
}

static ssize_t log_write(struct file *file, const char __user *from, size_t size, loff_t *at)
{
	mutex_lock(&lock);
	used = 0;
	mutex_unlock(&lock);
	return size;
}

static const struct file_operations log_operations = {
	.owner = THIS_MODULE,
	.read = log_read,
	.write = log_write,
	.llseek = default_llseek,
};

static struct miscdevice log_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "i2c-wire-log",
	.fops = &log_operations,
};

static int __init wire_init(void)
{
	int error;

	wire_log = vmalloc(LOG_SIZE);
	if (!wire_log)
		return -ENOMEM;
	error = misc_register(&log_device);
	if (error)
		goto no_device;
	error = i2c_add_numbered_adapter(&wire_adapter);
	if (error)
		goto no_adapter;
	return 0;
no_adapter:
	misc_deregister(&log_device);
no_device:
	vfree(wire_log);
	return error;
}

static void __exit wire_exit(void)
{
	i2c_del_adapter(&wire_adapter);
	misc_deregister(&log_device);
	vfree(wire_log);
}

module_init(wire_init);
module_exit(wire_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("I2C adapter that logs what it is sent");
