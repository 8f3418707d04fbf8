// Ask for a session and wait for the response; or read the responses of everybody.
//
// Needs com.rabbitmq:amqp-client (5.0 or newer) and org.slf4j:slf4j-api; nothing has to be built:
//
//   export AMQP_URL=amqp://user:password@host:5672/%2F
//   java -cp amqp-client.jar:slf4j-api.jar CreateSession.java               # ask and wait
//   java -cp amqp-client.jar:slf4j-api.jar CreateSession.java subscribe     # read responses

import com.rabbitmq.client.AMQP.BasicProperties;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

public class CreateSession {
    static final String PREFIX = System.getenv().getOrDefault("PREFIX", "sessions");
    static final int TIMEOUT = 30_000; // milliseconds

    public static void main(String[] args) throws Exception {
        ConnectionFactory factory = new ConnectionFactory();
        // To this client, a path of "/" is a virtual host with an empty name, and no path the one named "/".
        factory.setUri(System.getenv("AMQP_URL").replaceFirst("/$", ""));
        try (Connection connection = factory.newConnection(); Channel channel = connection.createChannel()) {
            if (args.length > 0 && args[0].equals("subscribe")) {
                subscribe(channel, args.length > 1 ? Integer.parseInt(args[1]) : Integer.MAX_VALUE);
            } else {
                System.out.println(ask(channel));
            }
        }
    }

    /** Publish a request and wait for the one response that belongs to it. */
    static String ask(Channel channel) throws Exception {
        // The id makes the request idempotent: sent again with the same content, there is still one session.
        String requestId = System.getenv().getOrDefault("REQUEST_ID", UUID.randomUUID().toString());
        String request = """
            {"request_id": "%s", "org_id": "org-1", "operation": "create_session",
             "payload": {"name": "From Java", "expiration_seconds": 3600}}""".formatted(requestId);

        // A queue of our own for the response. It lives as long as this connection.
        String replyQueue = channel.queueDeclare().getQueue();
        CompletableFuture<String> response = new CompletableFuture<>();
        channel.basicConsume(replyQueue, true, (tag, delivery) -> {
            if (requestId.equals(delivery.getProperties().getCorrelationId())) {
                response.complete(new String(delivery.getBody(), StandardCharsets.UTF_8));
            }
        }, tag -> response.completeExceptionally(new IllegalStateException("the reply queue is gone")));

        channel.confirmSelect();
        BasicProperties properties = new BasicProperties.Builder()
            .type("CreateSessionRequest")
            .contentType("application/json")
            .deliveryMode(2)
            .correlationId(requestId)
            .replyTo(replyQueue)
            // Nobody waits any longer than this, so no worker needs to begin it after that.
            .headers(Map.of("deadline", System.currentTimeMillis() + TIMEOUT))
            .build();
        channel.addReturnListener((code, text, exchange, key, returned, body) ->
            response.completeExceptionally(new IllegalStateException("nothing is behind " + exchange)));
        channel.basicPublish(PREFIX + ".requests", "create", true, properties,
            request.getBytes(StandardCharsets.UTF_8));
        channel.waitForConfirmsOrDie(TIMEOUT); // throws unless the broker has taken the request
        // A TimeoutException says nothing of the request: it is safe to ask again with the same id.
        return response.get(TIMEOUT, TimeUnit.MILLISECONDS);
    }

    /** Read responses to requests that named no reply queue, each one once. */
    static void subscribe(Channel channel, int howMany) throws Exception {
        Set<String> seen = ConcurrentHashMap.newKeySet(); // a response may come again, with the same message id
        CountDownLatch enough = new CountDownLatch(howMany);
        // Who takes a few brings none ahead: it would go back, and keep others waiting.
        channel.basicQos(howMany == Integer.MAX_VALUE ? 100 : 1);
        channel.basicConsume(PREFIX + ".responses", false, (tag, delivery) -> {
            boolean isNew = seen.add(delivery.getProperties().getMessageId());
            if (isNew) {
                System.out.println(new String(delivery.getBody(), StandardCharsets.UTF_8));
            }
            if (seen.size() == howMany) {
                channel.basicCancel(tag); // before the last is acknowledged, which would bring the next
            }
            // Only now: what is not acknowledged comes again.
            channel.basicAck(delivery.getEnvelope().getDeliveryTag(), false);
            if (isNew) {
                enough.countDown();
            }
        }, tag -> { });
        enough.await();
    }
}
