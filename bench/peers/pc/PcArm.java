// Confluent's Parallel Consumer 0.5.3.3 as a worker pool: --order KEY or UNORDERED, blocking handlers on its own threads.

import io.confluent.parallelconsumer.ParallelConsumerOptions;
import io.confluent.parallelconsumer.ParallelConsumerOptions.CommitMode;
import io.confluent.parallelconsumer.ParallelConsumerOptions.ProcessingOrder;
import io.confluent.parallelconsumer.ParallelStreamProcessor;
import io.confluent.parallelconsumer.PollContext;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.StringDeserializer;

import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;

public class PcArm {
    static final int SLOW_KEYS = 100;
    static final Map<String, String> flags = new HashMap<>();
    static final long start = System.nanoTime();
    static final AtomicBoolean begun = new AtomicBoolean();
    static final AtomicLong handled = new AtomicLong();
    static final List<Double> delays = Collections.synchronizedList(new ArrayList<>());
    static volatile long first, half, last, cpuFirst, cpuLast, sink;
    static String workload;
    static long records, spin, skip, failId;
    static boolean failByPanic;
    static FileChannel log;

    static String flag(String name, String otherwise) { return flags.getOrDefault(name, otherwise); }
    static long number(String name, long otherwise) { return flags.containsKey(name) ? Long.parseLong(flags.get(name)) : otherwise; }

    static long cpuNs() {
        return ((com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean()).getProcessCpuTime();
    }

    static long wallNs() {
        Instant now = Instant.now();
        return now.getEpochSecond() * 1_000_000_000L + now.getNano();
    }

    static double peakRssMb() throws IOException {
        for (String line : Files.readAllLines(Path.of("/proc/self/status")))
            if (line.startsWith("VmHWM")) return Double.parseDouble(line.split("\\s+")[1]) / 1024;
        return 0;
    }

    static long xorshift(long seed, long steps) {
        seed |= 1;
        for (long i = 0; i < steps; i++) {
            seed ^= seed << 13;
            seed ^= seed >>> 7;
            seed ^= seed << 17;
        }
        return seed;
    }

    public static void main(String[] arguments) throws Exception {
        for (int i = 0; i < arguments.length; i++) {
            String name = arguments[i].substring(2);
            boolean hasValue = i + 1 < arguments.length && !arguments[i + 1].startsWith("--");
            flags.put(name, hasValue ? arguments[++i] : "true");
        }
        workload = flag("workload", "noop");
        records = number("records", 1_000_000);
        spin = number("spin", 12_800);
        skip = number("skip", 0);
        failId = number("fail-id", -1);
        failByPanic = flags.containsKey("fail-by-panic");
        int concurrency = (int) number("concurrency", 64);
        if (flags.containsKey("log"))
            log = FileChannel.open(Path.of(flag("log", "")), StandardOpenOption.CREATE, StandardOpenOption.APPEND);

        long sessionMs = number("session-ms", 45_000);
        Properties settings = new Properties();
        settings.put("bootstrap.servers", flag("brokers", "127.0.0.1:9092"));
        settings.put("group.id", flag("group", "bench"));
        settings.put("auto.offset.reset", "earliest");
        settings.put("enable.auto.commit", "false");
        settings.put("fetch.max.wait.ms", "100");
        settings.put("session.timeout.ms", Long.toString(sessionMs));
        settings.put("heartbeat.interval.ms", Long.toString(Math.min(3_000, sessionMs / 4)));
        KafkaConsumer<String, byte[]> consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new ByteArrayDeserializer());
        ParallelStreamProcessor<String, byte[]> pool = ParallelStreamProcessor.createEosStreamProcessor(
                ParallelConsumerOptions.<String, byte[]>builder().consumer(consumer)
                        .ordering(ProcessingOrder.valueOf(flag("order", "KEY")))
                        .maxConcurrency(concurrency)
                        .commitMode(CommitMode.PERIODIC_CONSUMER_ASYNCHRONOUS)
                        .commitInterval(Duration.ofSeconds(1))
                        .defaultMessageRetryDelay(Duration.ofMillis(100))
                        .messageBufferSize(Math.max(20 * concurrency, 20_000))
                        .build());
        if (log != null) Runtime.getRuntime().addShutdownHook(new Thread(pool::close));
        pool.subscribe(List.of(flag("topic", "bench")));
        pool.poll(PcArm::handle);

        long deadline = number("timeout-s", 120) * 1_000_000_000L;
        while (last == 0 && System.nanoTime() - start < deadline) Thread.sleep(2);
        report(concurrency);
        Runtime.getRuntime().halt(0);
    }

    static void handle(PollContext<String, byte[]> context) {
        if (!begun.get() && !begun.getAndSet(true)) {
            cpuFirst = cpuNs();
            first = System.nanoTime() - start;
        }
        ByteBuffer value = ByteBuffer.wrap(context.value()).order(ByteOrder.LITTLE_ENDIAN);
        long id = value.getLong(0), key = value.getInt(24);
        try {
            switch (workload) {
                case "cpu20us": sink = xorshift(id, spin); break;
                case "sleep1ms": Thread.sleep(1); break;
                case "sleep10ms": Thread.sleep(10); break;
                case "slowkeys": if (key < SLOW_KEYS) Thread.sleep(500); break;
                case "fail2":
                    if (id % 100 == 0 && context.getSingleRecord().getNumberOfFailedAttempts() < 2)
                        throw new IllegalStateException("planned failure");
                    break;
                case "steps": step(id, key, value.getLong(16)); break;
                default:
            }
        } catch (InterruptedException | IOException e) {
            throw new RuntimeException(e);
        }
        boolean delayCounts = workload.equals("paced") || workload.equals("slowkeys") && key >= SLOW_KEYS;
        if (delayCounts && id >= skip) delays.add((wallNs() - value.getLong(8)) / 1e6);
        long done = handled.incrementAndGet();
        if (done == records / 2) half = System.nanoTime() - start;
        if (done == records) {
            cpuLast = cpuNs();
            last = System.nanoTime() - start;
        }
    }

    static void step(long id, long key, long sequence) throws InterruptedException, IOException {
        long began = wallNs(), drawn = (id * 0x9E3779B97F4A7C15L) >>> 40;
        Thread.sleep(drawn % 500 == 0 ? 1500 : drawn % 5);
        boolean isBad = id == failId;
        ByteBuffer line = ByteBuffer.allocate(40).order(ByteOrder.LITTLE_ENDIAN);
        line.putLong(id).putLong(key).putLong(sequence).putLong(began).putLong(isBad ? 0 : wallNs()).flip();
        if (log != null) log.write(line);
        if (isBad && failByPanic) throw new Error("planned panic");
        if (isBad) throw new IllegalStateException("planned failure");
    }

    static void report(int concurrency) throws IOException {
        boolean complete = last != 0;
        long end = complete ? last : System.nanoTime() - start, cpuEnd = complete ? cpuLast : cpuNs();
        long done = Math.min(handled.get(), records);
        double seconds = (end - first) / 1e9;
        double steady = complete && half > 0 ? (records - records / 2) / ((end - half) / 1e9) : 0;
        double[] sorted;
        synchronized (delays) { sorted = delays.stream().mapToDouble(Double::doubleValue).sorted().toArray(); }
        System.out.printf(Locale.ROOT, "{\"arm\":\"%s\",\"workload\":\"%s\",\"concurrency\":%d,\"handled\":%d,\"complete\":%b,\"seconds\":%.4f,\"msgs_per_s\":%.1f,\"steady_msgs_per_s\":%.1f,\"cpu_s\":%.4f,\"peak_rss_mb\":%.1f,\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"max_ms\":%.3f,\"delays\":%d}%n",
                "parallel-consumer-" + flag("order", "KEY").toLowerCase(Locale.ROOT), workload, concurrency, done, complete, seconds,
                done / seconds, steady, (cpuEnd - cpuFirst) / 1e9, peakRssMb(), at(sorted, .5), at(sorted, .99), at(sorted, 1), sorted.length);
        System.out.flush();
    }

    static double at(double[] sorted, double part) {
        return sorted.length == 0 ? 0 : sorted[(int) ((sorted.length - 1) * part)];
    }
}
