// Starts the explorer. Whoever logs in on this page is authorized on it, without pasting the token.

const GIVES_A_TOKEN = /\/api\/(auth\/login|auth\/token|noauth\/activate)$/;

const explorer = SwaggerUIBundle({
  url: "../openapi.json",
  dom_id: "#explorer",
  deepLinking: true,
  displayRequestDuration: true,
  docExpansion: "none",
  filter: true,
  tryItOutEnabled: true,
  validatorUrl: null,
  responseInterceptor: (response) => {
    if (response.ok && GIVES_A_TOKEN.test(new URL(response.url, location.href).pathname)) {
      explorer.preauthorizeApiKey("bearer", JSON.parse(response.text).token);
    }
    return response;
  },
});
