/* A sound card's volume control as an ALSA control plugin, so that libasound itself can be tested without a card: 0.5 dB
 * steps from -103.5 to 0 dB and a switch, as PCM512x has. Each write goes to the file named by FAKE_CARD_LOG; once a file of
 * that name with .gone exists, every write fails as on a card that was pulled. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <unistd.h>

/* The parts of alsa/control_external.h (protocol 1.0.1, a stable interface) that are needed, so that libasound's headers
 * need not be installed; callbacks that stay empty are not named. */
typedef struct snd_ctl_ext snd_ctl_ext_t;
typedef struct snd_ctl_elem_id snd_ctl_elem_id_t;
typedef struct snd_ctl snd_ctl_t;
typedef unsigned long snd_ctl_ext_key_t;
typedef struct {
	void *close;
	int (*elem_count)(snd_ctl_ext_t *);
	int (*elem_list)(snd_ctl_ext_t *, unsigned int, snd_ctl_elem_id_t *);
	snd_ctl_ext_key_t (*find_elem)(snd_ctl_ext_t *, const snd_ctl_elem_id_t *);
	void *free_key;
	int (*get_attribute)(snd_ctl_ext_t *, snd_ctl_ext_key_t, int *, unsigned int *, unsigned int *);
	int (*get_integer_info)(snd_ctl_ext_t *, snd_ctl_ext_key_t, long *, long *, long *);
	void *get_others[3];
	int (*read_integer)(snd_ctl_ext_t *, snd_ctl_ext_key_t, long *);
	void *read_others[4];
	int (*write_integer)(snd_ctl_ext_t *, snd_ctl_ext_key_t, long *);
	void *write_others[4];
	void (*subscribe_events)(snd_ctl_ext_t *, int);
	int (*read_event)(snd_ctl_ext_t *, snd_ctl_elem_id_t *, unsigned int *);
	void *poll_others[3];
} snd_ctl_ext_callback_t;
struct snd_ctl_ext {
	unsigned int version;
	int card_idx;
	char id[16], driver[16], name[32], longname[80], mixername[80];
	int poll_fd;
	const snd_ctl_ext_callback_t *callback;
	void *private_data;
	snd_ctl_t *handle;
	int nonblock, subscribed;
	union {
		void *c;
		const unsigned int *p;
	} tlv;
};
enum { BOOLEAN = 1, INTEGER = 2, MIXER = 2, READWRITE = 3, TLV_READ = 16, DB_SCALE = 1, VERSION = 1 << 16 | 1 };
int snd_ctl_ext_create(snd_ctl_ext_t *, const char *, int);
void snd_ctl_elem_id_set_interface(snd_ctl_elem_id_t *, int);
void snd_ctl_elem_id_set_name(snd_ctl_elem_id_t *, const char *);
const char *snd_ctl_elem_id_get_name(const snd_ctl_elem_id_t *);

static long values[2][2] = {{0, 0}, {1, 1}};
static const unsigned int scale[] = {DB_SCALE, 2 * sizeof(unsigned int), (unsigned int)-10350, 50};
static const char *names[] = {"Digital Playback Volume", "Digital Playback Switch"};

static int elem_count(snd_ctl_ext_t *ext) { return 2; }

static int elem_list(snd_ctl_ext_t *ext, unsigned int offset, snd_ctl_elem_id_t *id)
{
	snd_ctl_elem_id_set_interface(id, MIXER);
	snd_ctl_elem_id_set_name(id, names[offset]);
	return 0;
}

static snd_ctl_ext_key_t find_elem(snd_ctl_ext_t *ext, const snd_ctl_elem_id_t *id)
{
	const char *name = snd_ctl_elem_id_get_name(id);
	for (int key = 0; key < 2; key++)
		if (!strcmp(name, names[key]))
			return key;
	return (snd_ctl_ext_key_t)-1;
}

static int get_attribute(snd_ctl_ext_t *ext, snd_ctl_ext_key_t key, int *type, unsigned int *acc, unsigned int *count)
{
	*type = key ? BOOLEAN : INTEGER;
	*acc = READWRITE | (key ? 0 : TLV_READ);
	*count = 2;
	ext->tlv.p = scale;
	return 0;
}

static int get_integer_info(snd_ctl_ext_t *ext, snd_ctl_ext_key_t key, long *min, long *max, long *step)
{
	*min = 0;
	*max = key ? 1 : 207;
	*step = 1;
	return 0;
}

static int read_integer(snd_ctl_ext_t *ext, snd_ctl_ext_key_t key, long *value)
{
	memcpy(value, values[key], sizeof(values[key]));
	return 0;
}

static int write_integer(snd_ctl_ext_t *ext, snd_ctl_ext_key_t key, long *value)
{
	char path[4096];
	snprintf(path, sizeof(path), "%s.gone", getenv("FAKE_CARD_LOG"));
	if (access(path, F_OK) == 0)
		return -ENODEV;
	memcpy(values[key], value, sizeof(values[key]));
	FILE *log = fopen(getenv("FAKE_CARD_LOG"), "a");
	fprintf(log, "%s %ld %ld\n", key ? "switch" : "volume", value[0], value[1]);
	fclose(log);
	return 1;
}

static void subscribe_events(snd_ctl_ext_t *ext, int subscribe) {}
static int read_event(snd_ctl_ext_t *ext, snd_ctl_elem_id_t *id, unsigned int *mask) { return -EAGAIN; }

static const snd_ctl_ext_callback_t callbacks = {
	.elem_count = elem_count, .elem_list = elem_list, .find_elem = find_elem, .get_attribute = get_attribute,
	.get_integer_info = get_integer_info, .read_integer = read_integer, .write_integer = write_integer,
	.subscribe_events = subscribe_events, .read_event = read_event,
};

int _snd_ctl_fake_open(snd_ctl_t **handlep, const char *name, void *root, void *conf, int mode)
{
	snd_ctl_ext_t *ext = calloc(1, sizeof(*ext));
	ext->version = VERSION;
	ext->poll_fd = -1;
	ext->callback = &callbacks;
	strcpy(ext->id, "fake");
	strcpy(ext->driver, "fake");
	strcpy(ext->name, "fake");
	strcpy(ext->mixername, "fake");
	int err = snd_ctl_ext_create(ext, name, mode);
	*handlep = ext->handle;
	return err;
}

char __snd_ctl_fake_open_dlsym_control_001;
