/* SPDX-License-Identifier: MIT */
/* What a bench run found, for a person and for a program. */

#include <stdio.h>
#include <string.h>

#include "cli/bench.h"
#include "device/bandwidth.h"
#include "device/cpu.h"
#include "kernels/kernels.h"

#define BANDWIDTH_BYTES_MIN ((uint64_t)64 << 20)
#define BANDWIDTH_MS	    250

int dn_bench_machine(struct dn_bench_result *result, struct dn_error *err)
{
	const struct dn_kernels *kernels;
	struct dn_bandwidth bandwidth;
	struct dn_cpu cpu;
	int r = dn_kernels_select(result->loaded.level, &kernels, err);

	if (r < 0)
		return r;
	/* Cores do not share their arithmetic, so one thread stands for all. */
	result->int8_peak = dn_kernels_int8_peak(kernels) * result->threads;
	result->product_rate = dn_kernels_product_rate(kernels) * result->threads;
	/* Several times the caches; a quarter of a second is enough for a best pass. */
	r = dn_cpu_read("", &cpu, err);
	if (r < 0)
		return r;
	r = dn_bandwidth_measure(result->threads,
				 (size_t)DN_MAX(4 * cpu.l3_total, BANDWIDTH_BYTES_MIN),
				 BANDWIDTH_MS, &bandwidth, err);
	if (r < 0)
		return r;
	result->read_bandwidth = bandwidth.best * 1e9;
	return 0;
}

static double bytes_rate(const struct dn_bench_result *result)
{
	return result->decode.median * (double)result->loaded.bytes_per_token;
}

static double operations_rate(const struct dn_bench_result *result)
{
	return result->prefill.median * (double)result->loaded.operations_per_token;
}

static void print_operations(const char *name, double operations, double peak)
{
	printf("%-15s %.3f", name, operations / 1e12);
	if (peak > 0)
		printf(" of %.3f int8 TOP/s, %.0f %%\n", peak / 1e12, 100 * operations / peak);
	else
		printf(" TOP/s\n");
}

static void print_share(double part, double whole)
{
	if (whole > 0)
		printf(", %.0f %%", 100 * part / whole);
	printf("\n");
}

static void print_decode(const struct dn_bench_options *bench, const struct dn_bench_result *result)
{
	char after[32] = "";

	if (bench->depth > 0)
		(void)snprintf(after, sizeof(after), ", after %u", bench->depth);
	printf("decode %-8u %.1f tokens/s (%.1f to %.1f, spread %.1f %%)%s\n", bench->generate,
	       result->decode.median, result->decode.min, result->decode.max,
	       100 * result->decode.spread, after);
	if (bench->sequences > 1)
		printf("%2u at once      %.1f tokens/s (%.1f to %.1f, spread %.1f %%), %.2f times "
		       "one\n",
		       bench->sequences, result->batched.median, result->batched.min,
		       result->batched.max, 100 * result->batched.spread,
		       result->batched.median / result->decode.median);
}

int dn_bench_print(const struct dn_bench_options *bench, const struct dn_bench_result *result)
{
	double bytes = bytes_rate(result);
	double operations = operations_rate(result);

	printf("level           %s, %u thread%s\n", result->loaded.level, result->threads,
	       result->threads == 1 ? "" : "s");
	printf("load            %.1f ms (with the worker's start %.1f ms)\n",
	       (double)result->loaded.load_ns / 1e6, result->start_ms);
	if (result->verify_ms > 0)
		printf("verify          %.1f ms of it, the prepared model's seal\n",
		       result->verify_ms);
	printf("prefill %-7u %.1f tokens/s (%.1f to %.1f, spread %.1f %%)\n", bench->prompt,
	       result->prefill.median, result->prefill.min, result->prefill.max,
	       100 * result->prefill.spread);
	if (result->decodes)
		print_decode(bench, result);
	if (result->loaded.generates)
		printf("first token     %.2f ms after a prompt of %u tokens\n",
		       1e3 * bench->prompt / result->prefill.median, bench->prompt);
	if (result->decodes)
		printf("CPU             %.6f CPU-seconds a token\n", result->cpu_per_token.median);
	if (result->decodes)
		printf("page faults     %llu, %llu of them from a disk, while it decoded\n",
		       (unsigned long long)result->minor_faults +
			       (unsigned long long)result->major_faults,
		       (unsigned long long)result->major_faults);
	if (result->latency.n)
		dn_latency_print(&result->latency);
	printf("memory          %.1f MiB at most (planned: %.1f MiB)\n",
	       (double)result->peak_bytes / 0x1p20, (double)result->loaded.planned_bytes / 0x1p20);
	if (result->decodes) {
		printf("decode reads    %.1f GB/s of %.1f GB/s", bytes / 1e9,
		       result->read_bandwidth / 1e9);
		print_share(bytes, result->read_bandwidth);
	}
	print_operations("products alone", result->product_rate, result->int8_peak);
	print_operations("prefill makes", operations, result->int8_peak);
	return 0;
}

static json_t *spread_json(const struct dn_spread *spread, const char *unit)
{
	return json_pack("{s:f, s:f, s:f, s:f}", unit, spread->median, "min", spread->min, "max",
			 spread->max, "spread", spread->spread);
}

int dn_bench_print_json(const struct dn_bench_options *bench, const struct dn_bench_result *result,
			struct dn_error *err)
{
	json_t *prefill = spread_json(&result->prefill, "tokens_per_second");
	json_t *decode = NULL;
	json_t *batched = NULL;
	json_t *cpu = NULL;
	json_t *first = NULL;
	json_t *faults = NULL;
	json_t *latency = NULL;
	json_t *json;
	int failed = 0;
	int r;

	failed |= json_object_set_new(prefill, "tokens", json_integer(bench->prompt));
	failed |= json_object_set_new(prefill, "operations_per_second",
				      json_real(operations_rate(result)));
	if (result->decodes) {
		decode = spread_json(&result->decode, "tokens_per_second");
		failed |= json_object_set_new(decode, "tokens", json_integer(bench->generate));
		failed |= json_object_set_new(
			decode, "depth", json_integer(bench->depth ? bench->depth : bench->prompt));
		failed |= json_object_set_new(decode, "bytes_per_second",
					      json_real(bytes_rate(result)));
		cpu = json_real(result->cpu_per_token.median);
		faults = json_pack("{s:I, s:I}", "minor", (json_int_t)result->minor_faults, "major",
				   (json_int_t)result->major_faults);
	}
	if (result->latency.n) {
		latency = dn_latency_json(&result->latency);
		failed |= latency ? 0 : -1;
	}
	if (result->decodes && bench->sequences > 1) {
		batched = spread_json(&result->batched, "tokens_per_second");
		failed |= json_object_set_new(batched, "sequences", json_integer(bench->sequences));
	}
	if (result->loaded.generates)
		first = json_real(1e3 * bench->prompt / result->prefill.median);
	json = json_pack(
		"{s:o, s:o*, s:o*, s:o*, s:o*, s:o*, s:b, s:b, s:f, s:f, s:f, s:o*, s:I, s:I, s:f, "
		"s:f, s:f, s:s, s:i, "
		"s:i, s:s, s:s}",
		"prefill", prefill, "decode", decode, "batched", batched, "cpu_seconds_per_token",
		cpu, "decode_page_faults", faults, "latency", latency, "realtime",
		bench->model.realtime, "memory_locked",
		bench->model.realtime && result->loaded.unlocked == 0, "load_ms",
		(double)result->loaded.load_ns / 1e6, "start_ms", result->start_ms, "verify_ms",
		result->verify_ms, "first_token_ms", first, "peak_rss_bytes",
		(json_int_t)result->peak_bytes, "planned_bytes",
		(json_int_t)result->loaded.planned_bytes, "read_bandwidth_bytes_per_second",
		result->read_bandwidth, "int8_peak_operations_per_second", result->int8_peak,
		"product_operations_per_second", result->product_rate, "level",
		result->loaded.level, "threads", (int)result->threads, "repetitions",
		(int)bench->repetitions, "architecture", result->loaded.architecture,
		"quantisation", result->loaded.quantisation);
	r = json && failed == 0 ? dn_cli_write_json(json, JSON_INDENT(2), err)
				: dn_error_memory(err, "JSON output", 0);
	json_decref(json);
	return r;
}
