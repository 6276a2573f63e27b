// The ceiling: a franz-go PollFetches loop that reads each record's id and does nothing else.
package main

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func cpu() time.Duration {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func peakRssMB() float64 {
	status, _ := os.ReadFile("/proc/self/status")
	for _, line := range strings.Split(string(status), "\n") {
		if strings.HasPrefix(line, "VmHWM") {
			kilobytes, _ := strconv.ParseFloat(strings.Fields(line)[1], 64)
			return kilobytes / 1024
		}
	}
	return 0
}

func main() {
	brokers := flag.String("brokers", "127.0.0.1:9092", "host:port")
	topic := flag.String("topic", "bench", "")
	group := flag.String("group", "bench", "")
	records := flag.Int64("records", 1_000_000, "")
	workload := flag.String("workload", "noop", "noop is all there is")
	concurrency := flag.Int("concurrency", 1, "printed as given")
	timeout := flag.Int("timeout-s", 120, "")
	flag.Int("spin", 0, "ignored")
	flag.Int("skip", 0, "ignored")
	flag.Int("session-ms", 45000, "ignored")
	flag.Parse()

	client, err := kgo.NewClient(
		kgo.SeedBrokers(*brokers), kgo.ConsumerGroup(*group), kgo.ConsumeTopics(*topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxWait(100*time.Millisecond), kgo.AutoCommitInterval(time.Second))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(*timeout)*time.Second)
	defer cancel()

	var handled int64
	var ids uint64
	var first, half time.Time
	var cpuFirst time.Duration
	for handled < *records && ctx.Err() == nil {
		client.PollFetches(ctx).EachRecord(func(record *kgo.Record) {
			if handled == 0 {
				first, cpuFirst = time.Now(), cpu()
			}
			ids += binary.LittleEndian.Uint64(record.Value)
			handled++
			if handled == *records/2 {
				half = time.Now()
			}
		})
	}
	seconds, spent := time.Since(first).Seconds(), cpu()-cpuFirst
	fmt.Printf(`{"arm":"franz-go","workload":%q,"concurrency":%d,"handled":%d,"complete":%v,"seconds":%.4f,"msgs_per_s":%.1f,"steady_msgs_per_s":%.1f,"cpu_s":%.4f,"peak_rss_mb":%.1f,"p50_ms":0,"p99_ms":0,"max_ms":0,"delays":0}`+"\n",
		*workload, *concurrency, handled, handled >= *records, seconds, float64(handled)/seconds,
		float64(handled-*records/2)/time.Since(half).Seconds(), spent.Seconds(), peakRssMB())
	if ids == 1 {
		fmt.Println("the ids were read")
	}
}
